"""Merged and extended stores are those of one preparation, byte for byte, or are refused."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from file_contents import files_of

from fastbrain.data import (
    Exclusion,
    Split,
    VoxelStore,
    WindowSpec,
    append_runs,
    merge_stores,
    prepare_store,
    read_runs_table,
    split_by,
)
from fastbrain.errors import (
    CohortError,
    InputError,
    LeakError,
    OutputExistsError,
    SplitError,
    StoreError,
)

OPTIONS = {"window": WindowSpec(4.0, 3), "kernel": (2, 2, 3), "high_pass_s": 50.0}


def by_run(trials):
    return split_by(trials, "run", train=["01"], val=["02"], test=["03"], closed_set=True)


def by_run_id(trials):
    """Runs of another subject may then be in any part, whatever their number is."""
    parts = {part: [f"sub-01_run-{n:02d}"] for n, part in enumerate(("train", "val", "test"), 1)}
    return split_by(trials, "run_id", closed_set=True, **parts)


@pytest.fixture
def runs(cohort):
    return read_runs_table(cohort(subjects=2, trials=4))


def made(runs, out: Path, split=by_run, **changes) -> VoxelStore:
    return prepare_store(runs, out, split=split, **{**OPTIONS, **changes})


def of(runs, subject: str):
    return [run for run in runs if run.subject == subject]


@pytest.mark.parametrize("dtype", ["int16", "int8"])
def test_a_refitted_merge_is_the_store_of_one_preparation(runs, tmp_path, dtype):
    parts = [made(of(runs, s), tmp_path / s, dtype=dtype) for s in ("01", "02")]
    merged = merge_stores(parts, tmp_path / "merged", statistics="refit")
    at_once = made(runs, tmp_path / "at once", split=merged.split, dtype=dtype)
    assert files_of(merged.path) == files_of(at_once.path)
    # and it can be resumed like one
    made(runs, tmp_path / "merged", split=merged.split, dtype=dtype, resume=True)


def test_excluded_runs_of_all_stores_are_merged(cohort, tmp_path):
    runs = read_runs_table(cohort(subjects=2, runs=4, trials=4))
    out = {s: Exclusion(runs={f"sub-{s}_run-04": f"noise {s}"}) for s in ("01", "02")}
    parts = [made(of(runs, s), tmp_path / s, exclude=out[s]) for s in out]
    merged = merge_stores(parts, tmp_path / "merged", statistics="refit")
    both = Exclusion(runs={name: why for each in out.values() for name, why in each.runs.items()})
    at_once = made(runs, tmp_path / "at once", split=merged.split, exclude=both)
    assert files_of(merged.path) == files_of(at_once.path)
    made(runs, tmp_path / "merged", split=merged.split, exclude=both, resume=True)


def test_the_statistics_of_the_first_are_kept_on_request(runs, tmp_path):
    parts = [made(of(runs, s), tmp_path / s) for s in ("01", "02")]
    kept = merge_stores(parts, tmp_path / "kept", statistics="first")
    refitted = merge_stores(parts, tmp_path / "refitted", statistics="refit")
    np.testing.assert_array_equal(kept.mean, parts[0].mean)
    assert kept.info.fit == parts[0].info.fit
    assert (refitted.mean != kept.mean).any()
    assert kept.limits == parts[0].limits
    assert len(kept.split.train) == 8
    for trial in kept.trials:
        np.testing.assert_array_equal(kept.window(trial.trial_id), refitted.window(trial.trial_id))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"units": "zscore"}, "units"),
        ({"kernel": (1, 2, 3)}, "mask, kernel or stride"),
        ({"high_pass_s": 60.0}, "high-pass"),
        ({"window": WindowSpec(4.0, 2)}, "volumes in a window"),
        ({"window": WindowSpec(5.9, 3)}, "the window"),
        ({"dtype": "int8"}, "the dtype int16"),
    ],
    ids=str,
)
def test_stores_of_other_settings_are_refused(runs, tmp_path, change, message):
    parts = [made(of(runs, "01"), tmp_path / "a"), made(of(runs, "02"), tmp_path / "b", **change)]
    with pytest.raises(StoreError, match=message):
        merge_stores(parts, tmp_path / "out", statistics="first")
    assert not (tmp_path / "out").exists()


def test_what_they_may_not_share(runs, tmp_path):
    one = made(of(runs, "01"), tmp_path / "a")
    with pytest.raises(StoreError, match="share no run, got sub-01_run-01"):
        merge_stores([one, one], tmp_path / "out", statistics="refit")
    with pytest.raises(InputError, match="two or more"):
        merge_stores([one], tmp_path / "out", statistics="refit")
    open_set = made(
        of(runs, "02"),
        tmp_path / "b",
        split=lambda trials: replace(by_run(trials), closed_set=False),
    )
    with pytest.raises(SplitError, match="closed_set True"):
        merge_stores([one, open_set], tmp_path / "out", statistics="refit")


def test_a_joined_split_that_leaks_is_refused(cohort, tmp_path):
    """Both are clean alone; the runs that one tests on have the names of those the other trains."""
    runs = read_runs_table(cohort(subjects=2, trials=4, shared=True))
    turned = {"01": ("01", "02", "03"), "02": ("03", "02", "01")}
    parts = [
        made(
            of(runs, s),
            tmp_path / s,
            split=lambda trials, names=names: split_by(
                trials, "run", train=names[:1], val=names[1:2], test=names[2:], closed_set=True
            ),
        )
        for s, names in turned.items()
    ]
    with pytest.raises(LeakError, match="must be in one part only"):
        merge_stores(parts, tmp_path / "out", statistics="refit")


@pytest.mark.parametrize("name", ["runs/sub-01_run-01.npy", "mean_images/sub-01_run-01.npy"])
def test_damaged_files_are_not_merged(runs, tmp_path, name):
    parts = [made(of(runs, s), tmp_path / s) for s in ("01", "02")]
    path = parts[0].path / name
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(StoreError, match="must match its sha256"):
        merge_stores(parts, tmp_path / "out", statistics="refit")
    assert not (tmp_path / "out").exists()
    shutil.rmtree(parts[0].path / "mean_images")
    with pytest.raises(StoreError, match="record and the mean image"):
        merge_stores(parts, tmp_path / "out", statistics="refit")


@pytest.mark.parametrize(("part", "statistics"), [("test", "keep"), ("train", "refit")])
def test_appended_subjects_give_the_store_of_one_preparation(runs, tmp_path, part, statistics):
    store = made(of(runs, "01"), tmp_path / "before", split=by_run_id)
    before = files_of(store.path)
    longer = append_runs(
        store, of(runs, "02"), tmp_path / "after", part=part, statistics=statistics, n_jobs=2
    )
    assert files_of(store.path) == before
    assert len(longer.split.part(part)) == len(store.split.part(part)) + 12
    at_once = made(runs, tmp_path / "at once", split=longer.split)
    assert files_of(longer.path) == files_of(at_once.path)
    assert sorted(p.name for p in tmp_path.iterdir() if p.name.startswith(".")) == []


def test_training_subjects_with_kept_statistics(runs, tmp_path):
    store = made(of(runs, "01"), tmp_path / "before", split=by_run_id)
    longer = append_runs(store, of(runs, "02"), tmp_path / "after", part="train", statistics="keep")
    np.testing.assert_array_equal(longer.inv_std, store.inv_std)
    assert longer.fit_runs == store.fit_runs


def test_what_cannot_be_appended(runs, tmp_path):
    store = made(of(runs, "01"), tmp_path / "before", split=by_run_id)
    append = {"part": "test", "statistics": "keep"}
    with pytest.raises(CohortError, match=r"not be in .* yet, got sub-01_run-01"):
        append_runs(store, of(runs, "01"), tmp_path / "after", **append)
    with pytest.raises(OutputExistsError):
        append_runs(store, of(runs, "02"), tmp_path / "before", **append)
    for run in of(runs, "02"):
        run.events.write_text("onset\tduration\n0\t2\n")
    with pytest.raises(CohortError, match="texts like those of"):
        append_runs(store, of(runs, "02"), tmp_path / "after", **append)
    assert not (tmp_path / "after").exists()


def test_an_interrupted_append_goes_on(runs, tmp_path, monkeypatch):
    store = made(of(runs, "01"), tmp_path / "before", split=by_run_id)
    options = {"part": "test", "statistics": "keep"}
    with monkeypatch.context() as patch:
        patch.setattr("fastbrain.data.store.append.join_stores", _interrupted)
        with pytest.raises(KeyboardInterrupt):
            append_runs(store, of(runs, "02"), tmp_path / "after", **options)
    longer = append_runs(store, of(runs, "02"), tmp_path / "after", **options)
    assert isinstance(longer.split, Split)
    assert len(longer.info.runs) == 6


def _interrupted(*_, **__):
    raise KeyboardInterrupt
