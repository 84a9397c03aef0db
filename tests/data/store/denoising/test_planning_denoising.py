"""Trials of a denoised cohort before its voxels are converted."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from fastbrain.data import Denoising, Exclusion, RunRecord
from fastbrain.data.store.denoising.table import RunConfounds
from fastbrain.data.store.planning_denoising import read_cohort_confounds, without_censored
from fastbrain.errors import CohortError


def trials(*starts):
    return [
        SimpleNamespace(trial_id=f"a_{start}", run_id="a", start=start, frames=3)
        for start in starts
    ]


def confounds(*bad):
    censored = np.zeros(20, dtype=bool)
    censored[list(bad)] = True
    return {"a": RunConfounds((), np.zeros((20, 0)), censored)}


@pytest.mark.parametrize("censor", ["drop", "interpolate", "keep"])
def test_windows_that_hold_a_censored_volume(censor):
    strategy = Denoising.parse(["fd:0.5"], censor=censor)
    known = trials(0, 3, 5, 6, 9)
    kept, dropped = without_censored(known, confounds(5, 12), strategy)
    assert dropped == (["a_3", "a_5"] if censor == "drop" else [])
    assert [t.trial_id for t in kept] == [t.trial_id for t in known if t.trial_id not in dropped]


def test_a_trial_must_be_left():
    strategy = Denoising.parse(["fd:0"])
    with pytest.raises(CohortError, match=r"in the windows of all 2. Raise the thresholds"):
        without_censored(trials(0, 3), confounds(*range(1, 20)), strategy)
    assert without_censored([], confounds(1), strategy) == ([], [])


@pytest.mark.parametrize(
    ("strategy", "exclude"),
    [(Denoising.parse(["motion:6"]), None), (None, Exclusion(mean_fd_mm=1.0))],
)
def test_two_runs_may_not_share_a_table(tmp_path, strategy, exclude):
    # sub-01_task-x_desc-confounds_timeseries.tsv fits run-1 and run-2 by its name
    table = tmp_path / "confounds.tsv"
    runs = [
        RunRecord(f"sub-01_run-{n}", "01", "", str(n), Path(f"{n}.nii"), None, confounds=table)
        for n in (1, 2)
    ]
    headers = [SimpleNamespace(shape=(20, 2, 2, 2))] * 2
    with pytest.raises(CohortError, match=r"of its own, got .* for sub-01_run-1 and sub-01_run-2"):
        read_cohort_confounds(runs, headers, strategy, exclude)
