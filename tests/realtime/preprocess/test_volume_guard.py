"""Volumes that must not enter the statistics of a run."""

from __future__ import annotations

import numpy as np
import pytest

from fastbrain.realtime.preprocess.guard import Guard

V = 211
BASE = np.linspace(500, 1500, V)


def volume(rng, gain=1.0):
    return (BASE * gain * (1 + 0.01 * rng.normal(size=V))).astype(np.float32)


def quiet(count=20, seed=0):
    rng, guard = np.random.default_rng(seed), Guard(0.9)
    for _ in range(count):
        values = volume(rng)
        assert guard.judge(values, 0.1) == ("", False)
        guard.accept(values)
    return rng, guard


@pytest.mark.parametrize("gain", [0.0, 0.9, 1.1, 3.0])
def test_a_jump_of_the_mean_is_a_spike_once(gain):
    rng, guard = quiet()
    fault, spike = guard.judge(volume(rng, gain), 0.1)
    assert spike
    assert "mean over the brain" in fault
    assert guard.judge(volume(rng), 0.1) == ("", False)


def test_a_change_of_pattern_is_a_spike_by_its_dvars():
    rng, guard = quiet()
    values = volume(rng)
    values[::2] += 40
    values[1::2] -= 40
    fault, spike = guard.judge(values, 0.1)
    assert spike
    assert "differs by" in fault


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_no_spikes_but_faults(bad):
    rng, guard = quiet()
    values = volume(rng)
    values[7] = bad
    assert guard.judge(values, 0.1) == ("it has NaN or infinity in 1 brain voxels", False)
    assert guard.judge(volume(rng), 0.1) == ("", False)


def test_voxels_outside_the_field_of_view_do_not_count():
    rng, guard = np.random.default_rng(0), Guard(0.9)
    for _ in range(12):
        values = volume(rng)
        values[:3] = np.nan
        assert guard.judge(values, None) == ("", False)
        assert (values[:3] == 0).all()
        guard.accept(values)


def test_sudden_motion_is_a_fault():
    rng, guard = quiet()
    fault, spike = guard.judge(volume(rng), 1.3)
    assert (fault, spike) == ("the head moved 1.30 mm (at most 0.9)", False)


def test_a_first_volume_without_signal_is_a_fault():
    assert Guard(0.9).judge(np.zeros(V, np.float32), None)[0] == "it has no signal in the brain"
    assert Guard(0.9).judge(np.full(V, np.nan, np.float32), None)[0]


def test_a_lasting_change_of_gain_is_accepted_after_five_volumes():
    rng, guard = quiet()
    faults = []
    for _ in range(12):
        values = volume(rng, 1.2)
        fault, _ = guard.judge(values, 0.1)
        faults.append(bool(fault))
        if not fault:
            guard.accept(values)
    assert faults == [True] * 5 + [False] * 7


def test_chaos_is_never_accepted():
    rng, guard = quiet()
    for _ in range(40):
        values = (BASE * rng.uniform(0.2, 3, V)).astype(np.float32)
        assert guard.judge(values, 0.1)[0]


def test_a_slow_drift_is_no_spike():
    rng, guard = quiet()
    for i in range(300):
        values = volume(rng, 1 + 0.0005 * i)
        assert guard.judge(values, 0.1) == ("", False)
        guard.accept(values)


def test_few_false_alarms_on_noise():
    """No volume of 2,000 with Gaussian noise is a spike."""
    quiet(2000, seed=5)
