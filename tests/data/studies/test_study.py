"""Studies of public data sets: planned, saved, prepared, and refused where something is amiss."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from fastbrain import cli
from fastbrain._digests import write_sealed
from fastbrain.data import (
    Captions,
    ClassNames,
    Study,
    VoxelStore,
    known_dataset,
    plan_study,
    split_by,
    split_unseen,
)
from fastbrain.data.studies.had import action_phrase
from fastbrain.errors import CohortError, ConfigError, LeakError, SplitError

CLASSES = ("Archery", "Baking cookies", "BMX", "Cricket")


def unseen(*subjects):
    return lambda trials: split_unseen(trials, test_subjects=subjects, closed_set=True)


def write_image(path: Path, voxels: np.ndarray) -> None:
    image = nib.Nifti1Image(voxels.T, np.diag([3.0, 3.0, 3.0, 1.0]))
    image.header.set_xyzt_units("mm", "sec")
    if voxels.ndim == 4:
        image.header["pixdim"][4] = 2.0
    nib.save(image, path)


def small_had(root: Path, *, subjects: int = 3, images: bool = False) -> Path:
    rng = np.random.default_rng(0)
    for s in range(1, subjects + 1):
        for r in (1, 2):
            stem = root / f"sub-{s:02d}/ses-action01/func/sub-{s:02d}_ses-action01_task-action"
            lines = ["onset\tduration\ttrial_type\tresponse_time\tstim_file"]
            for k in range(60):
                name = CLASSES[k % len(CLASSES)]
                clip = f"{name}/v_{s}_{r}_{k}.mp4"
                lines.append(f"{4.0 * k}\t2.0\t{k % len(CLASSES) + 1}.0\t1.0\t{clip}")
            events = Path(f"{stem}_run-{r:02d}_events.tsv")
            events.parent.mkdir(parents=True, exist_ok=True)
            events.write_text("\n".join(lines) + "\n")
            if images:
                voxels = rng.integers(900, 1100, (156, 5, 6, 7)).astype(np.int16)
                write_image(Path(f"{stem}_run-{r:02d}_bold.nii.gz"), voxels)
    (root / "task-action_bold.json").write_text('{"RepetitionTime": 2}')
    return root


def test_from_study_to_store(tmp_path, capsys):
    root, study, store = small_had(tmp_path / "ds"), tmp_path / "study", tmp_path / "store"
    said = ["study", "had", str(root), str(study), "--test-subjects", "03", "--closed-set"]
    assert cli.main(said) == 0
    shown = capsys.readouterr()
    assert "360 of 360 stimuli in 4 categories" in shown.out
    assert "6 images are absent" in shown.err
    prepare = ["prepare", str(study), str(store), "--kernel", "2", "2", "2"]
    assert cli.main(prepare) == 1
    told = capsys.readouterr().err
    assert "6 absent" in told
    assert len(told.splitlines()) == 1
    small_had(root, images=True)
    mask = np.zeros((5, 6, 7), dtype=bool)
    mask[1:4, 1:5, 1:6] = True
    write_image(tmp_path / "mask.nii.gz", mask.astype(np.uint8))
    assert cli.main([*prepare, "--mask", str(tmp_path / "mask.nii.gz")]) == 0
    made = VoxelStore.open(store)
    planned = Study.load(study)
    assert made.trials == planned.trials
    assert made.split == planned.split
    assert made.window_spec.onset_offset_s == 12.0
    assert made.trials[0].start == 8


def test_preprocessed_images_lie_elsewhere(tmp_path):
    root, derived = small_had(tmp_path / "ds"), tmp_path / "fmriprep"
    for s in (1, 2, 3):
        folder = derived / f"sub-{s:02d}/func"
        folder.mkdir(parents=True)
        for r in (1, 2):
            # as HAD's own derivatives: no session, runs without zeros
            stem = f"sub-{s:02d}_task-action_run-{r}"
            for space in ("MNI", "T1w"):
                (folder / f"{stem}_space-{space}_desc-preproc_bold.nii.gz").touch()
                (folder / f"{stem}_space-{space}_desc-brain_mask.nii.gz").touch()
            (folder / f"{stem}_desc-confounds_timeseries.tsv").touch()
    with pytest.raises(CohortError, match="must be one image"):
        plan_study(root, "had", split=unseen("03"), images=derived)
    study = plan_study(root, "had", split=unseen("03"), images=derived, space="MNI")
    assert not len(study.absent)
    run = study.runs[1]
    assert run.bold.name == "sub-01_task-action_run-2_space-MNI_desc-preproc_bold.nii.gz"
    assert run.mask is not None
    assert run.confounds is not None


def test_one_image_of_a_run_is_chosen(tmp_path):
    root, derived = small_had(tmp_path / "ds"), tmp_path / "fmriprep"
    for s in (1, 2, 3):
        folder = derived / f"sub-{s:02d}/func"
        folder.mkdir(parents=True)
        for r in (1, 2):
            for echo in (1, 2):
                stem = f"sub-{s:02d}_task-action_run-{r}_echo-{echo}_desc-preproc"
                (folder / f"{stem}_bold.nii.gz").touch()
    with pytest.raises(CohortError, match=r"differ in echo \(1, 2\).*Pass echo="):
        plan_study(root, "had", split=unseen("03"), images=derived)
    study = plan_study(root, "had", split=unseen("03"), images=derived, chosen={"echo": "2"})
    assert {run.bold.name.split("_")[3] for run in study.runs} == {"echo-2"}
    # padded and plain labels are one run, whichever name comes first
    again = folder / "sub-03_task-action_run-02_echo-2_desc-preproc_bold.nii.gz"
    again.touch()
    with pytest.raises(CohortError, match=r"differ in run \(02, 2\).*Rename or remove"):
        plan_study(root, "had", split=unseen("03"), images=derived, chosen={"echo": "2"})
    again.rename(tmp_path / "outside.nii.gz")
    image = folder / "sub-03_task-action_run-2_echo-2_desc-preproc_bold.nii.gz"
    image.unlink()
    image.symlink_to(tmp_path / "outside.nii.gz")
    with pytest.raises(CohortError, match="allow_outside=True"):
        plan_study(root, "had", split=unseen("03"), images=derived, chosen={"echo": "2"})
    plan_study(
        root, "had", split=unseen("03"), images=derived, chosen={"echo": "2"}, allow_outside=True
    )
    with pytest.raises(ConfigError, match="Did you mean echo"):
        plan_study(root, "had", split=unseen("03"), images=derived, chosen={"ehco": "2"})


def test_a_study_of_images_that_begin_later(tmp_path):
    root = small_had(tmp_path / "ds")
    before = plan_study(root, "had", split=unseen("03"))
    (root / "task-action_bold.json").write_text('{"RepetitionTime": 2, "StartTime": 1.9}')
    after = plan_study(root, "had", split=unseen("03"))
    # onsets are multiples of 4 s, windows start 16 s later: volume 8 lay at 16 s, now at 17.9 s
    assert [t.start for t in after.trials] == [t.start - 1 for t in before.trials]
    loaded = Study.load(after.save(tmp_path / "study"))
    assert {run.start_time for run in loaded.runs} == {1.9}


def test_a_study_that_was_edited_is_refused(tmp_path):
    study = plan_study(small_had(tmp_path / "ds"), "had", split=unseen("03"))
    folder = study.save(tmp_path / "study")
    assert Study.load(folder).surrogates == study.surrogates
    with (folder / "surrogates.jsonl").open("a") as file:
        file.write("\n")
    with pytest.raises(CohortError, match="sha256"):
        Study.load(folder)


@pytest.mark.parametrize(
    "change",
    [
        {"layout": 1},
        {"root": 3},
        {"files": {}},
        {"window": {"delay_s": 4.0, "window_trs": 3}},
        {"window": {"delay_s": 4.0, "window_trs": 3, "onset_offset_s": 0.0, "guard": 1}},
        {"more": 1},
    ],
    ids=str,
)
def test_a_study_of_another_description_is_refused(tmp_path, change):
    study = plan_study(small_had(tmp_path / "ds"), "had", split=unseen("03"))
    path = study.save(tmp_path / "study") / "study.json"
    said = json.loads(path.read_text())
    del said["digest"]
    write_sealed(path, {**said, **change})
    with pytest.raises(CohortError, match=r"study\.json must be of layout 2 and list runs\.tsv"):
        Study.load(path.parent)
    path.write_text(json.dumps({**said, "window": {**said["window"], "delay_s": 6.0}}))
    with pytest.raises(CohortError, match=r"study\.json must match the sha256 it carries"):
        Study.load(path.parent)


@pytest.mark.parametrize("name", ["run_id", "family"])
def test_a_study_that_would_not_come_back_is_not_written(tmp_path, name):
    study = plan_study(small_had(tmp_path / "ds"), "had", split=unseen("03"))
    first, *others = study.runs
    odd = replace(study, runs=(replace(first, **{name: " mine"}), *others))
    with pytest.raises(CohortError, match=r"Study\.save: study must be what its files give back"):
        odd.save(tmp_path / "study")
    assert not (tmp_path / "study").exists()


def test_a_split_function_that_gives_no_split(tmp_path):
    with pytest.raises(CohortError, match="plan_study: split must give a Split, got NoneType"):
        plan_study(small_had(tmp_path / "ds"), "had", split=lambda trials: None)


def test_choices_of_text_do_not_depend_on_the_others(tmp_path):
    root = small_had(tmp_path / "ds")
    whole = plan_study(root, "had", split=unseen("03"))
    part = plan_study(root, "had", split=unseen("03"), categories=["Cricket", "BMX"])
    texts = {t.trial_id: (t.text, t.instruction) for t in whole.trials}
    assert len(part.trials) == 180
    assert all(texts[t.trial_id] == (t.text, t.instruction) for t in part.trials)
    other = plan_study(root, "had", split=unseen("03"), seed=1)
    assert [t.text for t in other.trials] != [t.text for t in whole.trials]


@pytest.mark.parametrize(
    ("name", "phrase"),
    [
        ("Archery", "doing archery"),
        ("Baking cookies", "baking cookies"),
        ("BMX", "doing BMX"),
        ("Ping-pong", "doing ping-pong"),
        ("Decorating the Christmas tree", "decorating the Christmas tree"),
    ],
)
def test_actions_are_done(name, phrase):
    assert action_phrase(name) == phrase


def test_what_cannot_be_a_study(tmp_path):
    root = small_had(tmp_path / "ds")
    with pytest.raises(ConfigError, match="Did you mean 'had'"):
        plan_study(root, "hda", split=unseen("03"))
    with pytest.raises(ConfigError, match=r"\['Chess'\]"):
        plan_study(root, "had", split=unseen("03"), categories=["Chess"])
    with pytest.raises(CohortError, match="task-5000scenes"):
        plan_study(root, "bold5000", split=unseen("03"))
    with pytest.raises(SplitError, match="test_subjects"):
        plan_study(root, "had", split=unseen("30"))
    with pytest.raises(CohortError, match="must have a caption"):
        plan_study(root, "had", split=unseen("03"), annotator=Captions({"x": ["y"]}))
    events = root / "sub-01/ses-action01/func/sub-01_ses-action01_task-action_run-01_events.tsv"
    text = events.read_text()
    events.write_text(text.replace("1.0\t1.0\tArchery", "181.0\t1.0\tArchery"))
    with pytest.raises(CohortError, match=r"trial_type 1\.\.180"):
        plan_study(root, "had", split=unseen("03"))
    events.write_text(text)
    (root / "task-action_bold.json").write_text('{"RepetitionTime": 2.0000004}')
    plan_study(root, "had", split=unseen("03"))
    (root / "task-action_bold.json").write_text('{"RepetitionTime": 1.5}')
    with pytest.raises(CohortError, match=r"repetition time of HAD, 2 s, got 1\.5 s"):
        plan_study(root, "had", split=unseen("03"))


def test_explanations_do_not_lie_behind_a_link_out_of_the_data_set(tmp_path):
    (tmp_path / "ds").mkdir()
    (tmp_path / "captions.json").write_text('{"a.jpg": ["a dog"]}')
    (tmp_path / "ds" / "captions.json").symlink_to(tmp_path / "captions.json")
    label = known_dataset("bold5000").labeller
    with pytest.raises(CohortError, match=r"got a link to .*captions\.json.*--explained-by"):
        label([tmp_path / "ds"])
    (tmp_path / "ds" / "captions.json").unlink()
    row = {"ImgName": "a.jpg", "ImgType": "coco"}
    assert label([tmp_path / "ds", tmp_path])(row).captions == ("a dog",)


def test_new_stimuli_are_new(tmp_path):
    trials = plan_study(small_had(tmp_path / "ds"), "had", split=unseen("03")).trials
    # the first person also saw ten of the third's clips
    theirs = [t.stimulus for t in trials if t.subject == "03"][:10]
    for i, stimulus in enumerate(theirs):
        trials[i] = replace(trials[i], stimulus=stimulus)
    parts = {"train": ["01"], "val": ["02"], "test": ["03"]}
    split = split_by(trials, "subject", **parts, new_stimuli=True)
    assert split.unused == 10
    leaky = split_by(trials, "subject", **parts)
    with pytest.raises(LeakError, match="stimulus must be in one part only, got 10"):
        replace(leaky, keys=split.keys).check(trials)


def test_class_names_refuse_what_they_cannot_say():
    with pytest.raises(ConfigError, match="templates"):
        ClassNames(["A person."])
