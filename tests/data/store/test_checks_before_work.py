"""What cannot become a store is refused before a voxel is converted, and nothing else is."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from run_splits import by_run

import fastbrain.data.store.convert as convert
from fastbrain.data import (
    Split,
    VoxelStore,
    WindowSpec,
    plan_store,
    prepare_store,
    read_runs_table,
)
from fastbrain.errors import CohortError, InputError, LeakError, SplitError

OPTIONS = {"window": WindowSpec(4.0, 3), "kernel": (2, 2, 3), "split": by_run, "high_pass_s": 50.0}


@pytest.fixture
def runs(cohort):
    return read_runs_table(cohort())


@pytest.mark.parametrize("name", ["../x", "a/b", "", "a b"])
def test_run_names_become_file_names(runs, tmp_path, name):
    odd = dataclasses.replace(runs[0], run_id=name)
    with pytest.raises(InputError, match="run_id"):
        prepare_store([odd, *runs[1:]], tmp_path / "out", **OPTIONS)


def test_everything_is_checked_before_work_starts(cohort, tmp_path, monkeypatch):
    path = cohort()
    runs = read_runs_table(path)
    monkeypatch.setattr(convert, "clean_run", lambda *a, **k: pytest.fail("work has begun"))
    last = runs[-1]

    image = nib.load(last.bold)
    moved = image.affine.copy()
    moved[1, 3] += 5
    original = last.bold.read_bytes()
    odd = nib.Nifti1Image(np.asarray(image.dataobj)[:-1], image.affine, image.header)
    slow = nib.Nifti1Image(image.dataobj, image.affine, image.header)
    slow.header["pixdim"][4] = 1.5
    for bad, what in (
        (odd, "shape"),
        (nib.Nifti1Image(image.dataobj, moved), "affine"),
        (slow, "repetition time"),
    ):
        if what == "affine":
            bad.header.set_xyzt_units("mm", "sec")
            bad.header["pixdim"][4] = 2.0
        nib.save(bad, last.bold)
        with pytest.raises(CohortError, match=f"sub-03_run-03.*{what}"):
            prepare_store(runs, tmp_path / "out", **OPTIONS)
        last.bold.write_bytes(original)

    events = last.events.read_text()
    last.events.write_text(events + "500\t2\trun\ts\tlate\n")
    with pytest.raises(CohortError, match="inside the run"):
        prepare_store(runs, tmp_path / "out", **OPTIONS)
    plan = plan_store(runs, late="drop", **OPTIONS)
    assert len(plan.dropped) == 1
    assert all(t.text != "late" for t in plan.trials)
    [note] = [note for note in plan.notes() if "leave the run" in note]
    assert note.startswith(f"1 of {len(plan.trials) + 1} trials are left out")
    last.events.write_text(events)
    assert plan_store(runs, late="drop", **OPTIONS).dropped == ()

    with pytest.raises(CohortError, match="more than once"):
        prepare_store([*runs, last], tmp_path / "out", **OPTIONS)
    with pytest.raises(InputError, match="units"):
        prepare_store(runs, tmp_path / "out", **{**OPTIONS, "units": "volts"})
    with pytest.raises(InputError, match="high_pass_s"):
        prepare_store(runs, tmp_path / "out", **{**OPTIONS, "high_pass_s": -1.0})
    with pytest.raises(InputError, match="at least"):
        prepare_store(runs, tmp_path / "out", **{**OPTIONS, "high_pass_s": 4.0})
    with pytest.raises(InputError, match=r"mask must be \(Z, Y, X\)"):
        prepare_store(runs, tmp_path / "out", mask=np.ones((5, 6, 8), bool), **OPTIONS)
    with pytest.raises(InputError, match="at least one run"):
        prepare_store([], tmp_path / "out", **OPTIONS)
    assert not (tmp_path / "out").exists()


def test_a_leaking_split_is_refused(runs, tmp_path):
    def leaking(trials):
        good = by_run(trials)
        return type(good)(good.train, good.val, (*good.test, good.train[0]), 5, ("run",))

    with pytest.raises(LeakError, match="must be in one part only"):
        prepare_store(runs, tmp_path / "out", **{**OPTIONS, "split": leaking})
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kernel", [(400, 400, 400), (2, 2, 99)])
def test_a_kernel_larger_than_the_volumes_is_refused_first(runs, tmp_path, kernel):
    with pytest.raises(InputError, match="kernel must fit into the volumes"):
        prepare_store(runs, tmp_path / "out", **{**OPTIONS, "kernel": kernel})
    assert not (tmp_path / "out").exists()


def test_one_training_volume_has_no_spread(runs, tmp_path):
    def one_trial(trials):
        split = by_run(trials)
        return replace(split, train=split.train[:1])

    options = OPTIONS | {"window": WindowSpec(4.0, 1), "split": one_trial}
    with pytest.raises(SplitError, match="two volumes or more, got one"):
        prepare_store(runs, tmp_path / "store", **options)
    assert not (tmp_path / "store").exists()


ODD = os.fsdecode(b"donn\xe9es")


def test_texts_that_cannot_be_written_down_are_refused_first(runs, monkeypatch):
    monkeypatch.setattr(convert, "clean_run", lambda *a, **k: pytest.fail("work has begun"))
    plan = plan_store(runs, **OPTIONS)
    trials = [dataclasses.replace(trial, text=ODD) for trial in plan.trials]
    with pytest.raises(CohortError, match=r"trial 'sub-01.*text 'donn\\udce9es'"):
        plan_store(runs, trials=trials, **OPTIONS)


@pytest.mark.parametrize("seconds", [-1.0, 700_000.0])
def test_trials_that_were_not_read_have_durations_within_their_run(runs, seconds):
    plan = plan_store(runs, **OPTIONS)
    trials = [dataclasses.replace(trial, duration=seconds) for trial in plan.trials]
    with pytest.raises(CohortError, match=r"must last from 0 s to the run's [\d.]+ s, got"):
        plan_store(runs, trials=trials, **OPTIONS)


@pytest.mark.parametrize(
    "change",
    [{"subject": "9"}, {"family": "F9"}, {"run_id": "other"}, {"text": ""}, {"trial_id": "twice"}],
    ids=str,
)
def test_trials_that_were_not_read_are_those_of_their_runs(runs, change):
    trials = plan_store(runs, **OPTIONS).trials
    odd = [dataclasses.replace(trial, **change) for trial in trials]
    with pytest.raises(CohortError, match=r"plan_store: trial .* must (be of a run|have a name)"):
        plan_store(runs, trials=odd, **OPTIONS)


def test_numbers_of_numpy_make_a_store(runs, tmp_path):
    window = WindowSpec(np.float32(4), np.int64(OPTIONS["window"].window_trs))

    def split(trials):
        parts = OPTIONS["split"](trials)
        guard, closed = np.int64(parts.guard_trs), np.bool_(parts.closed_set)
        return dataclasses.replace(
            parts, guard_trs=guard, closed_set=closed, train=list(parts.train)
        )

    store = prepare_store(runs, tmp_path / "out", **{**OPTIONS, "window": window, "split": split})
    assert VoxelStore.open(store.path).split == store.split


@pytest.mark.parametrize(
    "change", [{"guard_trs": -1}, {"guard_trs": 3.0}, {"unused": "x"}], ids=str
)
def test_a_split_that_could_not_be_read_back_cannot_be_made(change):
    with pytest.raises(SplitError, match="Split: "):
        Split(
            **{**dict.fromkeys(("train", "val", "test", "keys"), ("a",)), "guard_trs": 1, **change}
        )
