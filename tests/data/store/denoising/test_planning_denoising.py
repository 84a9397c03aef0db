"""Trials of a denoised cohort before its voxels are converted."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from fastbrain.data import Denoising
from fastbrain.data.store.denoising.table import RunConfounds
from fastbrain.data.store.planning_denoising import without_censored
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
