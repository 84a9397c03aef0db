"""Runs beyond a limit of tSNR or DVARS: out of the store as if left out by name, with a reason."""

from __future__ import annotations

import re

import nibabel as nib
import numpy as np
import pytest
from run_splits import by_run

from fastbrain.cli import main
from fastbrain.data import (
    Exclusion,
    Split,
    VoxelStore,
    WindowSpec,
    merge_stores,
    plan_native_grids,
    plan_rest,
    prepare_store,
    read_runs_table,
    split_by,
    verify_store,
    write_collection,
    write_store,
)
from fastbrain.data.readers.tables import read_tsv
from fastbrain.data.store import prepare
from fastbrain.data.store.native_grids import restricted
from fastbrain.errors import CohortError, InputError, SplitError, StoreError
from fastbrain.evaluation.report.quality_page import write_quality_page

LIMITS = Exclusion(least_tsnr=20.0)
NOISE = 250.0  # of an intensity near 2300; the other runs have 60

OPTIONS = {
    "window": WindowSpec(delay_s=4.0, window_trs=3),
    "kernel": (2, 2, 3),
    "split": by_run,
    "high_pass_s": None,
}


def change(run, make):
    image = nib.load(run.bold)
    image.header.set_data_dtype(np.float32)
    values = make(image.get_fdata())
    nib.save(nib.Nifti1Image(values.astype(np.float32), image.affine, image.header), run.bold)


def noisy(values):
    return values + NOISE * np.random.default_rng(0).standard_normal(values.shape)


@pytest.fixture
def table(cohort):
    path = cohort(subjects=2, runs=3)
    change(read_runs_table(path)[0], noisy)
    return path


@pytest.fixture
def runs(table):
    return read_runs_table(table)


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ({"least_tsnr": 20.0}, r"tSNR \d.*, below 20"),
        ({"mean_dvars": 8.0}, r"mean DVARS \d.* %, above 8 %"),
        ({"max_dvars": 9.0, "least_tsnr": 1.0}, r"largest DVARS \d.* %, above 9 %"),
    ],
)
def test_the_store_is_that_without_the_run(runs, tmp_path, limits, reason):
    bad = runs[0].run_id
    store = prepare_store(runs, tmp_path / "out", exclude=Exclusion(**limits), **OPTIONS)
    named = Exclusion(runs={bad: "noise"})
    wanted = prepare_store(runs, tmp_path / "named", exclude=named, **OPTIONS)
    assert store.fingerprint() == wanted.fingerprint()
    assert set(store.fit_runs) == {runs[3].run_id}
    assert not (store.path / "runs" / f"{bad}.npy").exists()
    assert verify_store(store.path) == ()
    assert list(store.info.excluded) == [bad]
    measured = store.info.excluded_quality[bad]
    assert measured["n_volumes"] == store.info.runs[runs[1].run_id]["n_volumes"]
    assert measured["quality"]["tsnr"] < 20 < store.info.runs[runs[1].run_id]["quality"]["tsnr"]
    _, rows = read_tsv(store.path / "quality.tsv")
    (row,) = [row for row in rows if row["run"] == bad]
    assert row["included"] == "no"
    assert float(row["tsnr"]) == pytest.approx(measured["quality"]["tsnr"])
    assert row["reason"] == store.info.excluded[bad]
    assert re.fullmatch(reason, row["reason"])


@pytest.mark.parametrize("at", ["write_statistics", "_write_tables"])
def test_a_killed_preparation_goes_on_without_measuring_again(runs, tmp_path, monkeypatch, at):
    wanted = prepare_store(runs, tmp_path / "whole", exclude=LIMITS, **OPTIONS)
    calls = []

    def killed(*args):
        calls.append(args)
        if at != "_write_tables" or len(calls) == 2:  # the second time, without the run
            raise KeyboardInterrupt
        return write(*args)

    write = getattr(prepare, at)
    with monkeypatch.context() as patch:
        patch.setattr(prepare, at, killed)
        with pytest.raises(KeyboardInterrupt):
            prepare_store(runs, tmp_path / "out", exclude=LIMITS, **OPTIONS)
    monkeypatch.setattr(prepare, "convert_run", None)
    with pytest.raises(StoreError, match="other values of limits of tSNR or DVARS"):
        prepare_store(
            *(runs, tmp_path / "out"), exclude=Exclusion(least_tsnr=21.0), resume=True, **OPTIONS
        )
    store = prepare_store(runs, tmp_path / "out", exclude=LIMITS, resume=True, **OPTIONS)
    assert store.fingerprint() == wanted.fingerprint()
    again = prepare_store(runs, tmp_path / "out", exclude=LIMITS, resume=True, **OPTIONS)
    assert again.info == store.info
    assert again.info.excluded == wanted.info.excluded


def test_workers_leave_out_the_same_runs(runs, tmp_path):
    one = prepare_store(runs, tmp_path / "one", exclude=LIMITS, **OPTIONS)
    two = prepare_store(runs, tmp_path / "two", exclude=LIMITS, n_jobs=2, **OPTIONS)
    for name in ("manifest.json", "quality.tsv", "split.json", "trials.parquet"):
        assert (one.path / name).read_bytes() == (two.path / name).read_bytes()


def test_what_is_left_must_be_a_store(runs, tmp_path):
    with pytest.raises(CohortError, match="a run must be left, got none"):
        prepare_store(runs, tmp_path / "a", exclude=Exclusion(least_tsnr=1e6), **OPTIONS)
    change(runs[3], noisy)
    with pytest.raises(CohortError, match=r"trials in each part .*train must name"):
        prepare_store(runs, tmp_path / "b", exclude=LIMITS, **OPTIONS)


def test_a_limit_needs_its_measure(runs, tmp_path):
    change(runs[2], lambda values: values - values.mean(axis=-1, keepdims=True))
    with pytest.raises(CohortError, match=f"{runs[2].run_id} must have a tSNR for its limit of 20"):
        prepare_store(runs, tmp_path / "out", exclude=LIMITS, units="zscore", **OPTIONS)
    with pytest.raises(InputError, match="least_tsnr"):
        Exclusion(least_tsnr=-1.0)


def test_runs_at_rest_have_limits_too(runs, tmp_path):
    plan = plan_rest(
        runs,
        split=lambda t: split_by(t, "run", train=["01"], val=["02"], test=["03"]),
        window_trs=3,
        kernel=(2, 2, 3),
        exclude=LIMITS,
    )
    assert plan.summary()["left out"] == "after cleaning, runs with tSNR below 20"
    store = write_store(plan, tmp_path / "out")
    assert list(store.info.excluded) == [runs[0].run_id]


def test_statistics_without_training_windows_are_refused_before_work(runs):
    def all_test(trials):
        return Split((), (), tuple(t.trial_id for t in trials), guard_trs=0, keys=())

    with pytest.raises(SplitError, match="plan_rest: split must have training trials, got none"):
        plan_rest(runs, split=all_test, kernel=(2, 2, 3))
    with pytest.raises(CohortError, match="plan_rest: split must give a Split, got list"):
        plan_rest(runs, split=list, kernel=(2, 2, 3))


def test_merged_stores_of_rest_are_those_of_one_preparation(runs, tmp_path):
    def made(some, name, split=by_run):
        plan = plan_rest(some, split=split, window_trs=3, kernel=(2, 2, 3), high_pass_s=50.0)
        return write_store(plan, tmp_path / name)

    parts = [
        made([r for r in runs if r.subject == s], s) for s in sorted({r.subject for r in runs})
    ]
    merged = merge_stores(parts, tmp_path / "merged", statistics="refit")
    at_once = made(runs, "at once", split=lambda trials: merged.split)
    assert merged.info.filter == at_once.info.filter == parts[0].info.filter
    assert merged.fingerprint() == at_once.fingerprint()


def test_a_collection_leaves_them_out_of_its_split(two_grids, tmp_path):
    extra = [run for run in two_grids if run.run == "01"]
    change(extra[1], noisy)

    def split(trials):
        return split_by(trials, "run_id", **{
            "train": [r.run_id for r in two_grids if r.run in ("01", "02")],
            "val": [r.run_id for r in two_grids if r.run == "03"],
            "test": [r.run_id for r in two_grids if r.run == "04"],
        })  # fmt: skip

    plan = plan_native_grids(two_grids, exclude=LIMITS, **{**OPTIONS, "split": split})
    found = write_collection(plan, tmp_path / "out")
    bad = extra[1].run_id
    assert list(found.stores["sub-02"].info.excluded) == [bad]
    assert not found.stores["sub-01"].info.excluded
    assert not any(i.startswith(bad) for i in found.split.train)
    part = restricted(found.split, found.stores["sub-02"].trials, who="sub-02")
    assert part == found.stores["sub-02"].split


@pytest.fixture
def two_grids(write_two_grids, tmp_path):
    return write_two_grids(tmp_path / "two-grids", runs=4)


def test_the_command_and_the_page_show_why(table, tmp_path, capsys):
    out = tmp_path / "store"
    split = ["--split-by", "run", "--train", "01", "--val", "02", "--test", "03"]
    args = ["prepare", str(table), str(out), "--kernel", "2", "2", "3", "--window", "3"]
    limits = ["--exclude-tsnr", "20", "--exclude-dvars", "50", "--exclude-max-dvars", "60"]
    assert main([*args, *split, "--high-pass", "none", *limits]) == 0
    said = capsys.readouterr()
    bad = read_runs_table(table)[0].run_id
    assert "tSNR below 20 or mean DVARS above 50 % or largest DVARS above 60 %" in said.out
    assert f"run {bad} is left out: tSNR " in said.err + said.out
    store = VoxelStore.open(out)
    html = write_quality_page(store, tmp_path / "page.html").read_text()
    left = html[html.index("Runs that are left out") : html.index("<h2>Runs</h2>")]
    assert store.info.excluded[bad] in left
    assert f"{store.info.excluded_quality[bad]['quality']['tsnr']:.4g}" in left
    assert html.count(f"<h3>{bad}</h3>") == 0
