"""Runs found in BIDS trees, real ones included."""

from __future__ import annotations

import json

import pytest
from bids_tree import tree

from fastbrain import cli
from fastbrain.data import runs_from_bids
from fastbrain.errors import CohortError, ConfigError


def run(stem: str, suffix: str = "_bold.nii.gz") -> tuple[str, str]:
    return f"{stem}{suffix}", f"{stem}_events.tsv"


def test_entities_order_and_optional_parts(tmp_path):
    for s in ("02", "01"):
        for r in ("10", "9"):
            tree(tmp_path, *run(f"sub-{s}/ses-a/func/sub-{s}_ses-a_task-x_run-{r}"))
    found = runs_from_bids(tmp_path)
    assert [r.run_id for r in found] == [
        "sub-01_ses-a_run-9",
        "sub-01_ses-a_run-10",
        "sub-02_ses-a_run-9",
        "sub-02_ses-a_run-10",
    ]
    assert found[0].root == tmp_path
    assert (found[0].mask, found[0].tr, found[0].session) == (None, None, "a")


def test_no_run_entity_is_run_one(tmp_path):
    tree(tmp_path, *run("sub-1/func/sub-1_task-x", "_bold.nii"))
    assert runs_from_bids(tmp_path)[0].run_id == "sub-1_run-1"


def test_sidecars_are_inherited_nearer_ones_win(tmp_path):
    tree(tmp_path, *run("sub-1/func/sub-1_task-x_run-1"), *run("sub-2/func/sub-2_task-x_run-1"))
    (tmp_path / "task-x_bold.json").write_text(json.dumps({"RepetitionTime": 2.0}))
    (tmp_path / "task-y_bold.json").write_text(json.dumps({"RepetitionTime": 9.0}))
    near = tmp_path / "sub-2/func/sub-2_task-x_run-1_bold.json"
    near.write_text(json.dumps({"RepetitionTime": 1.5}))
    assert [r.tr for r in runs_from_bids(tmp_path)] == [2.0, 1.5]


@pytest.mark.parametrize("value", ["fast", True, [2.0], {"a": 1}])
def test_wrong_repetition_time(tmp_path, value):
    tree(tmp_path, *run("sub-1/func/sub-1_task-x_run-1"))
    (tmp_path / "task-x_bold.json").write_text(json.dumps({"RepetitionTime": value}))
    with pytest.raises(CohortError, match="RepetitionTime"):
        runs_from_bids(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", "\x00"])
def test_damaged_sidecar(tmp_path, text):
    tree(tmp_path, *run("sub-1/func/sub-1_task-x_run-1"))
    (tmp_path / "bold.json").write_text(text)
    with pytest.raises(CohortError, match=r"bold\.json"):
        runs_from_bids(tmp_path)


def test_derivatives_find_raw_named_events_and_their_own_mask(tmp_path):
    stem = "sub-1/func/sub-1_task-x_run-1"
    tree(
        tmp_path,
        f"{stem}_space-MNI_desc-preproc_bold.nii.gz",
        f"{stem}_space-MNI_desc-brain_mask.nii.gz",
        f"{stem}_space-T1w_desc-preproc_bold.nii.gz",
        f"{stem}_space-T1w_desc-brain_mask.nii.gz",
        f"{stem}_desc-confounds_timeseries.tsv",
        f"{stem}_events.tsv",
    )
    with pytest.raises(CohortError, match=r"several values of space \(MNI, T1w\)"):
        runs_from_bids(tmp_path)
    (found,) = runs_from_bids(tmp_path, space="MNI")
    assert found.mask is not None
    assert found.mask.name == "sub-1_task-x_run-1_space-MNI_desc-brain_mask.nii.gz"
    assert found.confounds is not None
    assert found.events.name == "sub-1_task-x_run-1_events.tsv"


def test_tasks_must_be_chosen(tmp_path):
    tree(tmp_path, *run("sub-1/func/sub-1_task-x"), *run("sub-1/func/sub-1_task-y"))
    with pytest.raises(CohortError, match="several values of task"):
        runs_from_bids(tmp_path)
    assert len(runs_from_bids(tmp_path, task="y")) == 1
    with pytest.raises(CohortError, match="got none"):
        runs_from_bids(tmp_path, task="z")


def test_shared_events_at_the_root(tmp_path):
    tree(tmp_path, "sub-1/func/sub-1_task-x_bold.nii.gz", "task-x_events.tsv")
    assert runs_from_bids(tmp_path)[0].events.name == "task-x_events.tsv"


REST = "sub-1/func/sub-1_task-a_run-1_bold.nii.gz"
PREPROCESSED = "sub-1/func/sub-1_task-a_run-1_space-MNI_desc-preproc_bold.nii.gz"


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ((REST,), "none for 1 of 1 runs.*at rest have none.*raw data set"),
        ((PREPROCESSED,), "none for 1 of 1 runs.*preprocessed images; their events lie in the raw"),
        ((REST, *run("sub-2/func/sub-2_task-a_run-1")), "none for 1 of 2 runs.*--task"),
    ],
)
def test_runs_without_events_are_refused_without_assuming_why(tmp_path, names, said):
    with pytest.raises(CohortError, match=rf"must have its _events\.tsv.*{said}"):
        runs_from_bids(tree(tmp_path, *names))


def test_two_tables_that_fit_equally_well(tmp_path):
    stem = "sub-1/func/sub-1_task-x_acq-a_run-1"
    tree(tmp_path, f"{stem}_bold.nii", "sub-1/func/sub-1_acq-a_events.tsv")
    tree(tmp_path, "sub-1/func/sub-1_run-1_events.tsv")
    with pytest.raises(CohortError, match=r"must have one \*_events\.tsv, got .*acq-a.*run-1"):
        runs_from_bids(tmp_path)


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("acq", ("a", "b")),
        ("ce", ("none", "gd")),
        ("rec", ("none", "norm")),
        ("dir", ("AP", "PA")),
        ("echo", ("1", "2", "3")),
        ("part", ("mag", "phase")),
        ("chunk", ("1", "2")),
        ("res", ("1", "2")),
        ("den", ("10k", "32k")),
        ("desc", ("denoised", "preproc")),
    ],
)
def test_several_images_of_a_run_name_the_entity_and_are_chosen(tmp_path, key, values):
    tags = [f"_{key}-{value}" if value != "none" else "" for value in values]
    names = [f"sub-1/func/sub-1_task-x_run-{r}{tag}_bold.nii" for r in (1, 2) for tag in tags]
    tree(tmp_path, *names, "task-x_events.tsv")
    said = (
        rf"several for 2 runs.*differ in {key} \({', '.join(values)}\): .*Pass {key}= \(--{key}\)"
    )
    with pytest.raises(CohortError, match=said) as caught:
        runs_from_bids(tmp_path)
    assert all(str(tmp_path / name) in str(caught.value) for name in names[: len(values)])
    for value, tag in zip(values, tags, strict=True):
        for written in (value, f"{key}-{value}" if tag else value):
            found = runs_from_bids(tmp_path, **{key: written})
            assert [r.bold.name for r in found] == [
                f"sub-1_task-x_run-{r}{tag}_bold.nii" for r in (1, 2)
            ]
    with pytest.raises(CohortError, match=rf"with {key} 9, got none; they have {key} {values[0]}"):
        runs_from_bids(tmp_path, **{key: "9"})


def test_an_index_may_be_padded(tmp_path):
    stem = "sub-1/func/sub-1_task-x"
    tree(tmp_path, f"{stem}_echo-01_bold.nii", f"{stem}_echo-02_bold.nii", f"{stem}_events.tsv")
    assert runs_from_bids(tmp_path, echo="2")[0].bold.name == "sub-1_task-x_echo-02_bold.nii"


def test_two_differing_entities_are_both_named(tmp_path):
    stem = "sub-1/func/sub-1_task-x"
    for tags in ("_echo-1_part-mag", "_echo-2_part-mag", "_echo-1_part-phase"):
        tree(tmp_path, f"{stem}{tags}_bold.nii")
    tree(tmp_path, f"{stem}_events.tsv")
    with pytest.raises(CohortError, match=r"Pass echo= \(--echo\) or part= \(--part\)"):
        runs_from_bids(tmp_path)
    assert len(runs_from_bids(tmp_path, echo="1", part="mag")) == 1


def test_one_image_packed_and_unpacked(tmp_path):
    stem = "sub-1/func/sub-1_task-x"
    tree(tmp_path, f"{stem}_bold.nii", f"{stem}_bold.nii.gz", f"{stem}_events.tsv")
    with pytest.raises(CohortError, match=r"differ in no entity: .*_bold\.nii, .*Rename or remove"):
        runs_from_bids(tmp_path)


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        ({"echo": "../1"}, "letters and digits"),
        ({"echo": ""}, "letters and digits"),
    ],
)
def test_impossible_choices(tmp_path, choice, said):
    tree(tmp_path, *run("sub-1/func/sub-1_task-x"))
    with pytest.raises(ConfigError, match=said):
        runs_from_bids(tmp_path, **choice)


def test_the_mask_is_on_the_grid_of_the_chosen_image(tmp_path):
    stem = "sub-1/func/sub-1_task-x"
    for res in ("1", "2"):
        tree(tmp_path, f"{stem}_echo-1_space-MNI_res-{res}_desc-preproc_bold.nii")
        tree(tmp_path, f"{stem}_space-MNI_res-{res}_desc-brain_mask.nii")
    tree(tmp_path, f"{stem}_desc-brain_mask.nii", f"{stem}_events.tsv")
    (found,) = runs_from_bids(tmp_path, res="2")
    assert found.mask is not None
    assert found.mask.name == "sub-1_task-x_space-MNI_res-2_desc-brain_mask.nii"


def test_files_that_bids_does_not_know_are_ignored(tmp_path):
    func = "sub-1/func"
    tree(tmp_path, *run(f"{func}/sub-1_task-x"))
    # what macOS leaves beside each file, and folders that hold no data of their own
    for name in ("sub-1_task-x_bold.nii.gz", "sub-1_task-x_bold.json", "sub-1_task-x_events.tsv"):
        tree(tmp_path, f"{func}/._{name}", text="\0\5\x16\7")
    for folder in ("sourcedata", "code", "derivatives/fmriprep", ".cache", "sub-1/derivatives"):
        tree(tmp_path, *run(f"{folder}/sub-1/func/sub-1_task-x_run-7"))
    tree(tmp_path, "._participants.tsv", "._task-x_bold.json", text="\0")
    (found,) = runs_from_bids(tmp_path)
    assert found.bold == tmp_path / func / "sub-1_task-x_bold.nii.gz"


def test_options_of_the_command_line(tmp_path, capsys):
    stem = "sub-1/func/sub-1_task-x"
    tree(tmp_path, f"{stem}_echo-1_bold.nii", f"{stem}_echo-2_bold.nii", f"{stem}_events.tsv")
    prepare = ["prepare", str(tmp_path), str(tmp_path / "store"), "--test-subjects", "1"]
    assert cli.main(prepare) == 1
    assert "Pass echo= (--echo)" in capsys.readouterr().err
    assert cli.main([*prepare, "--echo", "2"]) == 1
    # the choice is made: what is refused now is the image itself
    assert "echo-2_bold.nii" in capsys.readouterr().err


def test_real_tree_of_sidecars_alone(real_data):
    with pytest.raises(CohortError, match="240 sidecars"):
        runs_from_bids(real_data / "had_bids")
