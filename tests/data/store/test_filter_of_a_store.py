"""The high-pass filter that a store is prepared with."""

from __future__ import annotations

import dataclasses
import json

import pytest
from run_splits import by_run

from fastbrain.cli import main
from fastbrain.data import (
    DriftFilter,
    VoxelStore,
    WindowSpec,
    plan_store,
    prepare_store,
    read_runs_table,
    split_by,
    split_subject_folds,
)
from fastbrain.data.readers.events import read_trials
from fastbrain.errors import InputError, StoreError

WINDOW = WindowSpec(delay_s=4.0, window_trs=3)
TR_S = 2.0
OPTIONS = {"window": WINDOW, "kernel": (2, 2, 3), "split": by_run}


@pytest.mark.parametrize("value", ["none", "128", -1.0, 0.0, float("nan"), float("inf"), True, [1]])
def test_what_is_no_period_is_refused_before_work(cohort, tmp_path, value):
    with pytest.raises(InputError, match="high_pass_s must be "):
        prepare_store(read_runs_table(cohort()), tmp_path / "out", high_pass_s=value, **OPTIONS)
    assert not (tmp_path / "out").exists()


def slow_trials(runs, *, move_test):
    """Blocks in every run; those of the test run may lie elsewhere."""
    trials = []
    for run in runs:
        for t in read_trials(run, WINDOW, tr=TR_S, n_volumes=60)[:6]:
            k = int(t.trial_id[-1])
            onset = t.onset + (2.0 if move_test and run.run == "03" else 0.0)
            changed = {"onset": onset, "start": WINDOW.start(onset, tr=TR_S), "duration": 24.0}
            trials.append(dataclasses.replace(t, category=f"c{k % 3}", **changed))
    return trials


def test_test_events_never_decide(cohort):
    runs = read_runs_table(cohort())
    here, moved = (
        plan_store(runs, trials=slow_trials(runs, move_test=move), **OPTIONS).filter
        for move in (False, True)
    )
    assert here == moved
    assert here.runs == tuple(run.run_id for run in runs if run.run == "01")
    assert here.trials == 18
    # the same events do decide where they train
    parts = {"train": ["03"], "val": ["02"], "test": ["01"]}
    swapped = {**OPTIONS, "split": lambda trials: split_by(trials, "run", **parts)}
    first, second = (
        plan_store(runs, trials=slow_trials(runs, move_test=move), **swapped).filter
        for move in (False, True)
    )
    assert first.removed != second.removed


def test_every_fold_chooses_for_itself(cohort):
    runs = read_runs_table(cohort(shared=True))
    for k in range(3):
        plan = plan_store(
            runs,
            window=WINDOW,
            kernel=(2, 2, 3),
            split=lambda trials, k=k: split_subject_folds(trials, val_fraction=0.4)[k],
        )
        trained = {t.run_id for t in plan.trials if t.trial_id in plan.split.train}
        assert set(plan.filter.runs) == trained
        assert {r.split("_")[0] for r in trained} < {f"sub-0{s}" for s in (1, 2, 3)}


def test_a_store_says_how_its_filter_was_chosen(cohort, tmp_path):
    store = prepare_store(read_runs_table(cohort()), tmp_path / "out", **OPTIONS)
    info = VoxelStore.open(tmp_path / "out").info
    assert info.high_pass_s == 128
    found = DriftFilter.from_json(info.filter)
    assert (found.asked, found.high_pass_s, found.trials) == ("auto", 128, 24)
    assert set(found.runs) == set(store.fit_runs)
    # the period is in the fingerprint, its reasons are not
    asked = prepare_store(
        read_runs_table(cohort(name="twin")), tmp_path / "asked", high_pass_s=128, **OPTIONS
    )
    assert asked.info.filter["asked"] == 128
    assert asked.fingerprint() == store.fingerprint()


def test_a_damaged_record_of_the_filter_is_refused(cohort, tmp_path, reseal):
    prepare_store(read_runs_table(cohort()), tmp_path / "out", **OPTIONS)
    path = tmp_path / "out" / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"filter": {"asked": 1}}))
    reseal(tmp_path / "out")
    with pytest.raises(StoreError, match="filter is damaged"):
        VoxelStore.open(tmp_path / "out")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "a line alone) (auto, from the training events of 3 runs"),
        (["--high-pass", "none"], "none (a line alone)"),
        (["--high-pass", "0"], "none (a line alone)"),
        (["--high-pass", "64"], "removes more than 20% of what the training events predict"),
    ],
)
def test_the_command_shows_the_filter_before_anything_is_written(
    cohort, tmp_path, capsys, words, said
):
    table = cohort()
    for path in table.parent.rglob("*_events.tsv"):
        rows = [f"{24 * k}\t24\tc{k}\tc{k}" for k in range(4)]
        path.write_text("\n".join(["onset\tduration\ttrial_type\ttext", *rows]) + "\n")
    command = ["prepare", str(table), str(tmp_path / "out"), "--window", "3", "--dry-run"]
    command += ["--kernel", "2", "2", "3", "--split-by", "run", "--closed-set"]
    assert main([*command, "--train", "01", "--val", "02", "--test", "03", *words]) == 0
    shown = capsys.readouterr()
    assert said in shown.out + shown.err
    assert "it removes" in shown.out
