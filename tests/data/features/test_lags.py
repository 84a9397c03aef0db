"""Windows behind each moment hold the right volumes and never leave their run."""

from __future__ import annotations

import numpy as np
import pytest

from fastbrain.data import lagged_windows
from fastbrain.errors import InputError

FEATURES = np.arange(20)[:, None] * [1.0, 10.0]
RUNS = ["a"] * 12 + ["b"] * 8


@pytest.mark.parametrize("lags", [(1,), (1, 2), (1, 2, 3, 4), (-2, 0)])
def test_one_run(lags):
    windows, kept = lagged_windows(FEATURES, [0, 5, 19], lags=lags)
    expected = [t for t in (0, 5, 19) if all(0 <= t + lag < 20 for lag in lags)]
    assert kept.tolist() == [t in expected for t in (0, 5, 19)]
    for window, t in zip(windows, expected, strict=True):
        np.testing.assert_array_equal(window[:, 0], [t + lag for lag in lags])


def test_windows_stay_in_their_run():
    windows, kept = lagged_windows(
        FEATURES, [8, 7, 3, 4], lags=(1, 4), runs=RUNS, at_runs=["a", "a", "b", "b"]
    )
    assert kept.tolist() == [False, True, True, False]
    np.testing.assert_array_equal(windows[:, :, 0], [[8, 11], [16, 19]])


def test_refusals():
    with pytest.raises(InputError, match="lags not empty"):
        lagged_windows(FEATURES, [1], lags=())
    with pytest.raises(InputError, match="whole numbers"):
        lagged_windows(FEATURES, [1.5])
    with pytest.raises(InputError, match="got none of 1"):
        lagged_windows(FEATURES, [19])
    with pytest.raises(InputError, match="must stand together, got 'a'"):
        lagged_windows(FEATURES, [1], runs=["a", "b"] * 10, at_runs=["a"])
    with pytest.raises(InputError, match="among runs, got 'c'"):
        lagged_windows(FEATURES, [1], runs=RUNS, at_runs=["c"])
    with pytest.raises(InputError, match="given together"):
        lagged_windows(FEATURES, [1], runs=RUNS)
