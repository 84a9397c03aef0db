"""Presets of public data sets: their options, their texts, and their real trees."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import get_args, get_type_hints

import nibabel as nib
import numpy as np
import pytest

from fastbrain import cli
from fastbrain.commands._preparation import PreparationOptions
from fastbrain.data import (
    PRESETS,
    VoxelStore,
    WindowSpec,
    dataset_preset,
    labelled_trials,
    runs_from_bids,
)
from fastbrain.errors import CohortError, ConfigError

SPLIT = ["--split-by", "subject", "--train", "1", "--val", "2", "--test", "3"]
EXPLAINED = ["--derivatives", "fmriprep", "--explained-by", "x"]
MNI = "space-MNI152NLin2009cAsym_desc-preproc"


def write_image(path: Path, volumes: int, *, tr: float | None, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = np.random.default_rng(seed).normal(1000, 10, (4, 4, 4, volumes)).astype(np.float32)
    if tr is None:
        nib.save(nib.Nifti1Image(np.ones((4, 4, 4), np.uint8), np.eye(4)), path)
        return
    image = nib.Nifti1Image(data, np.eye(4))
    image.header.set_xyzt_units("mm", "sec")
    image.header["pixdim"][4] = tr
    nib.save(image, path)


def test_every_option_is_one_of_the_command():
    known = {field.name for field in fields(PreparationOptions)}
    assert all(set(preset.options) <= known for preset in PRESETS.values())
    hint = get_type_hints(PreparationOptions, include_extras=False)["dataset"]
    named = {name for part in get_args(hint) for name in get_args(part)}
    assert named == set(PRESETS)
    assert all(preset.page.startswith("https://") for preset in PRESETS.values())
    with pytest.raises(ConfigError, match="Did you mean 'ukb-rest'"):
        dataset_preset("ukb_rest")


@pytest.fixture(scope="module")
def had(tmp_path_factory):
    """Three people of HAD with images as its derivatives name them, one run each."""
    root = tmp_path_factory.mktemp("had")
    for s in (1, 2, 3):
        func = root / f"sub-{s}/ses-action01/func"
        func.mkdir(parents=True)
        stem = f"sub-{s}_ses-action01_task-action_run-01"
        actions = ("Drum corps", "Playing kickball", "Archery")
        rows = [
            f"{4 * i + 0.1}\t2.0\t{i % 3 + 1}.0\t{actions[i % 3]}/v_{s}{i}.mp4" for i in range(30)
        ]
        head = "onset\tduration\ttrial_type\tstim_file"
        (func / f"{stem}_events.tsv").write_text("\n".join([head, *rows]) + "\n")
        (func / f"{stem}_bold.json").write_text('{"RepetitionTime": 2.0}')
        derived = root / f"derivatives/fmriprep/sub-{s}/sub-{s}_task-action_run-1"
        write_image(Path(f"{derived}_desc-preproc_bold.nii.gz"), 156, tr=2.0, seed=s)
        write_image(Path(f"{derived}_desc-brain_mask.nii.gz"), 1, tr=None)
    return root


def test_had_is_prepared_with_its_windows_and_texts(had, tmp_path, capsys):
    line = ["prepare", str(had), str(tmp_path / "store"), "--dataset", "had", *SPLIT]
    line += ["--derivatives", "fmriprep", "--kernel", "2", "2", "2", "--closed-set"]
    assert cli.main(line) == 0, capsys.readouterr().err
    store = VoxelStore.open(tmp_path / "store")
    trial = store.trials[0]
    # 0.1 s + 12 s before the first trial + 4 s of delay is volume 8 of 2 s
    assert (trial.start, trial.frames) == (8, 2)
    assert "drum corps" in trial.text
    answers = (tmp_path / "store/surrogates.jsonl").read_text().splitlines()
    assert len(answers) == len(store.trials) == 90
    assert json.loads(answers[0])["model"] == "class names"


def test_an_option_that_is_given_has_precedence_even_at_its_usual_value(had, tmp_path, capsys):
    line = ["prepare", str(had), str(tmp_path / "store"), "--dataset=had", *SPLIT, "--dry-run"]
    line += ["--derivatives", "fmriprep", "--kernel", "2", "2", "2", "--closed-set"]
    assert cli.main([*line, "--onset-offset", "0", "--delay", "5", "--window", "4"]) == 0
    assert "4 volumes from 5 s on" in capsys.readouterr().out


def test_where_a_data_set_is_no_source_of_events(had, tmp_path, capsys):
    store = str(tmp_path / "store")
    for name, said in {
        "narratives": "fastbrain study narratives SOURCE STUDY",
        "lebel": "fastbrain study lebel SOURCE STUDY",
        "hcp-rest": "must come with --no-events",
        "nsd-betas": "must come with --no-events",
    }.items():
        assert cli.main(["prepare", str(had), store, "--dataset", name, *SPLIT]) == 1
        assert said in capsys.readouterr().err
    (tmp_path / "runs.tsv").write_text("subject\trun\tbold\tevents\n")
    assert cli.main(["prepare", str(tmp_path / "runs.tsv"), store, "--dataset", "had", *SPLIT]) == 1
    assert "--dataset must be left out for a runs table" in capsys.readouterr().err
    assert cli.main(["prepare", str(had), store, *EXPLAINED, *SPLIT]) == 1
    assert "--explained-by must be left out" in capsys.readouterr().err


REST = {
    "hcp-rest": (
        "MNINonLinear/Results/rfMRI_REST1_LR/rfMRI_REST1_LR_hp2000_clean.nii.gz",
        "MNINonLinear/Results/rfMRI_REST1_LR/brainmask_fs.2.nii.gz",
        0.72,
    ),
    "ukb-rest": (
        "fMRI/rfMRI.ica/filtered_func_data_clean.nii.gz",
        "fMRI/rfMRI.ica/mask.nii.gz",
        0.735,
    ),
}


@pytest.mark.parametrize("name", REST)
def test_rest_in_the_layout_of_its_consortium(tmp_path, capsys, name):
    bold, mask, tr = REST[name]
    for subject in ("1", "2"):
        write_image(tmp_path / "raw" / subject / bold, 60, tr=tr)
        write_image(tmp_path / "raw" / subject / mask, 1, tr=None)
    line = ["prepare", str(tmp_path / "raw"), str(tmp_path / "store"), "--dataset", name]
    line += ["--no-events", "--train", "1", "--val", "2", "--split-by", "subject"]
    line += ["--kernel", "2", "2", "2", "--dry-run"]
    assert cli.main(line) == 0, capsys.readouterr().err
    printed = capsys.readouterr().out
    assert "2 of 2 subjects" in printed
    assert "12 volumes" in printed
    assert cli.main([*line, "--derivatives", "fmriprep"]) == 1
    assert "--derivatives must be left out for --dataset" in capsys.readouterr().err


def with_images(source: Path, images: Path, task: str) -> tuple:
    for path in source.glob(f"sub-*/**/*_task-{task}_*events.tsv"):
        image = path.relative_to(source).with_name(
            path.name.replace("_events.tsv", f"_{MNI}_bold.nii.gz")
        )
        (images / image).parent.mkdir(parents=True, exist_ok=True)
        (images / image).write_text("x")
    found = runs_from_bids(source, derivatives=images, task=task)
    return tuple(replace(run, n_volumes=400) for run in found)


def test_real_events_of_bold_moments(real_data, tmp_path):
    source = real_data / "bids_boldmoments"
    runs = with_images(source, tmp_path / "images", "train")
    dataset = dataset_preset("boldmoments").trials
    options = {"root": source, "window": dataset.window, "explained_by": [tmp_path]}
    with pytest.raises(CohortError, match=r"annotations\.json must be in .*--explained-by"):
        labelled_trials(runs, dataset, **options)
    videos = {f"{n:04d}" for n in range(1, 1001)}
    said = {v: {"text_descriptions": [f"Video {v}."], "actions": ["playing+fun"]} for v in videos}
    (tmp_path / "annotations.json").write_text(json.dumps(said))
    trials, answers = labelled_trials(runs, dataset, **options)
    assert {trial.category for trial in trials} == {"playing fun"}
    assert all(trial.text == f"Video {trial.stimulus}." for trial in trials)
    tables = [line.split("\t") for run in runs for line in run.events.read_text().splitlines()]
    rows = sum(cells[3] == "train" for cells in tables)
    assert len(trials) == len(answers) == rows > 1000
    del said[trials[0].stimulus]
    (tmp_path / "annotations.json").write_text(json.dumps(said))
    with pytest.raises(CohortError, match=f"of the video {trials[0].stimulus}"):
        labelled_trials(runs, dataset, **options)


def test_real_events_of_bold5000_and_had(real_data, tmp_path):
    for name, folder, count in (
        ("bold5000", "bold5000_captions", None),
        ("had", "had_bids", 1_440),
    ):
        preset = dataset_preset(name)
        source = real_data / folder
        runs = with_images(source, tmp_path / name, preset.options["task"])
        people = sorted({run.subject for run in runs})[:2]
        runs = [run for run in runs if run.subject in people]
        window = WindowSpec(preset.options["delay"], preset.options["window"])
        trials, _ = labelled_trials(runs, preset.trials, root=source, window=window, dropped=[])
        assert trials
        assert count in (None, len(trials))
        assert all(trial.text for trial in trials)


def test_trials_that_leave_the_run_are_listed(had):
    runs = runs_from_bids(had, derivatives="fmriprep")
    dataset = dataset_preset("had").trials
    late = WindowSpec(250.0, 2, 12.0)
    with pytest.raises(CohortError, match="window inside the run"):
        labelled_trials(runs, dataset, root=had, window=late)
    dropped: list[str] = []
    trials, _ = labelled_trials(runs, dataset, root=had, window=late, dropped=dropped)
    assert len(trials) + len(dropped) == 90
    assert dropped[-1] == "sub-3_ses-action01_run-01_trial-030"
