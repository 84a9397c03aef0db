"""The space of the images: in manifest, facts and reports, and the same in joined stores."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fastbrain import cli
from fastbrain.data import (
    VoxelStore,
    WindowSpec,
    append_runs,
    merge_stores,
    plan_native_grids,
    prepare_store,
    read_runs_table,
    runs_from_bids,
    split_by,
    store_facts,
    write_runs_table,
)
from fastbrain.errors import CohortError, StoreError
from fastbrain.evaluation.report.quality_page import write_quality_page

OPTIONS = {"window": WindowSpec(4.0, 3), "kernel": (2, 2, 3), "high_pass_s": 50.0}
MNI, OTHER = "MNI152NLin2009cAsym", "MNI152NLin6Asym"


def by_run(trials):
    return split_by(trials, "run", train=["01"], val=["02"], test=["03"], closed_set=True)


@pytest.fixture
def runs(cohort):
    return read_runs_table(cohort(subjects=2, trials=4))


def by_run_id(trials):
    """Runs of another person may then be in any part, whatever their number is."""
    parts = {part: [f"sub-01_run-{n:02d}"] for n, part in enumerate(("train", "val", "test"), 1)}
    return split_by(trials, "run_id", closed_set=True, **parts)


def of(runs, subject, space, resolution=""):
    own = [run for run in runs if run.subject == subject]
    return [replace(run, space=space, resolution=resolution) for run in own]


def made(runs, out, **changes):
    return prepare_store(runs, out, split=by_run, **{**OPTIONS, **changes})


def test_it_is_in_the_store_and_in_its_reports(runs, tmp_path, capsys):
    table = write_runs_table(tmp_path / "runs.tsv", of(runs, "01", MNI, "2"))
    again = read_runs_table(table, allow_outside=True)
    assert {(run.space, run.resolution) for run in again} == {(MNI, "2")}
    store = made(again, tmp_path / "store")
    assert (store.info.space, store.info.resolution) == (MNI, "2")
    facts = store_facts(store)["preparation"]
    assert (facts["space"], facts["resolution"]) == (MNI, "2")
    assert cli.main(["store", "info", str(store.path)]) == 0
    assert MNI in capsys.readouterr().out
    page = write_quality_page(store, tmp_path / "quality.html").read_text()
    assert f"{MNI}, resolution 2" in page


def test_runs_in_two_spaces_are_refused(runs, tmp_path):
    mixed = [*of(runs, "01", MNI), *of(runs, "02", OTHER)]
    for resample in (None, "first"):
        with pytest.raises(CohortError, match=rf"{MNI} \(sub-01_.*{OTHER} \(sub-02_"):
            made(mixed, tmp_path / "store", resample=resample)
    # each person may have an own one with a grid of its own
    plan = plan_native_grids(mixed, split=by_run, **OPTIONS)
    spaces = {name: member.space.space for name, member in plan.members.items()}
    assert sorted(spaces.values()) == sorted([MNI, OTHER])


def test_merged_stores_are_of_one_space(runs, tmp_path):
    one = made(of(runs, "01", MNI, "2"), tmp_path / "one")
    other = made(of(runs, "02", OTHER, "2"), tmp_path / "other")
    with pytest.raises(StoreError, match=rf"other must be of .* space .*one, {MNI}, got {OTHER}"):
        merge_stores([one, other], tmp_path / "merged", statistics="refit")
    coarse = made(of(runs, "02", MNI, "native"), tmp_path / "coarse")
    with pytest.raises(StoreError, match=r"resolution of .*one, 2, got native"):
        merge_stores([one, coarse], tmp_path / "merged", statistics="refit")
    assert not (tmp_path / "merged").exists()
    unnamed = made(of(runs, "02", ""), tmp_path / "unnamed")
    merged = merge_stores([one, unnamed], tmp_path / "merged", statistics="refit")
    assert (merged.info.space, merged.info.resolution) == ("", "")
    same = made(of(runs, "02", MNI, "2"), tmp_path / "same")
    assert merge_stores([one, same], tmp_path / "m", statistics="refit").info.space == MNI


def test_appended_runs_are_of_the_space_of_the_store(runs, tmp_path):
    options = {**OPTIONS, "split": by_run_id}
    store = prepare_store(of(runs, "01", MNI), tmp_path / "store", **options)
    options = {"part": "test", "statistics": "keep"}
    with pytest.raises(CohortError, match=rf"sub-02_.* must be in the space .*{MNI}, got {OTHER}"):
        append_runs(store, of(runs, "02", OTHER), tmp_path / "more", **options)
    added = append_runs(store, of(runs, "02", MNI), tmp_path / "more", **options)
    assert VoxelStore.open(added.path).info.space == MNI


def test_names_of_images_state_it(runs, tmp_path):
    root = tmp_path / "bids"
    for run in of(runs, "01", ""):
        func = root / "sub-01" / "func"
        func.mkdir(parents=True, exist_ok=True)
        stem = f"sub-01_task-a_run-{run.run}"
        image = func / f"{stem}_space-{MNI}_res-2_bold.nii.gz"
        image.write_bytes(run.bold.read_bytes())
        (func / f"{stem}_events.tsv").write_bytes(run.events.read_bytes())
    found = runs_from_bids(root, space=MNI)
    assert {(run.space, run.resolution) for run in found} == {(MNI, "2")}
