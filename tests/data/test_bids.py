"""Runs found in BIDS trees, real ones included."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest

from fastbrain.data import runs_from_bids
from fastbrain.errors import CohortError


def tree(root: Path, *names: str, text: str = "x") -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


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


def test_runs_without_events_are_refused(tmp_path):
    tree(tmp_path, "sub-1/func/sub-1_task-rest_bold.nii.gz", "sub-1/func/sub-1_task-x_events.tsv")
    with pytest.raises(CohortError, match=r"_events\.tsv"):
        runs_from_bids(tmp_path)


@pytest.mark.parametrize("columns", ["family site", "Family_ID SITE_ID", "site age family"])
def test_family_and_site_of_participants(tmp_path, columns):
    tree(tmp_path, *run("sub-1/func/sub-1_task-x"), *run("sub-2/func/sub-2_task-x"))
    values = {"family": "f7", "Family_ID": "f7", "site": "Paris", "SITE_ID": "Paris", "age": "30"}
    names = columns.split()
    lines = [["participant_id", *names], ["sub-1", *(values[n] for n in names)]]
    lines.append(["sub-3", *["n/a"] * len(names)])
    table = tmp_path / "participants.tsv"
    table.write_text("\n".join("\t".join(line) for line in lines) + "\n")
    one, two = runs_from_bids(tmp_path)
    assert (one.family, one.site) == ("f7", "Paris")
    # nothing is known of a person the table does not have
    assert (two.family, two.site) == ("", "")


def test_a_participant_in_two_families(tmp_path):
    tree(tmp_path, *run("sub-1/func/sub-1_task-x"))
    (tmp_path / "participants.tsv").write_text("participant_id\tfamily\nsub-1\ta\nsub-1\tb\n")
    with pytest.raises(CohortError, match="two that differ in family or site of sub-1"):
        runs_from_bids(tmp_path)


def test_two_echoes_are_not_two_runs(tmp_path):
    stem = "sub-1/func/sub-1_task-x"
    tree(tmp_path, f"{stem}_echo-1_bold.nii", f"{stem}_echo-2_bold.nii", f"{stem}_events.tsv")
    with pytest.raises(CohortError, match="more than once"):
        runs_from_bids(tmp_path)


def test_real_clone_without_its_data(real_data, tmp_path):
    name = "sub-01_as_cloned_with_dangling_annex_links.tar.gz"
    with tarfile.open(real_data / "had_bids" / name) as archive:
        # the links point into .git/annex of the clone, which the archive does not hold
        archive.extractall(tmp_path, filter=lambda member, _: member)
    with pytest.raises(CohortError, match=r"12 that are links to data not fetched.*datalad get"):
        runs_from_bids(tmp_path)


def test_real_tree_of_sidecars_alone(real_data):
    with pytest.raises(CohortError, match="240 sidecars"):
        runs_from_bids(real_data / "had_bids")
