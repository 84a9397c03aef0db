"""Limits of windows: what training windows allow, and what is held."""

from __future__ import annotations

import numpy as np
import pytest

from fastbrain.data import WindowLimits
from fastbrain.data.store.window_limits import window_statistics
from fastbrain.errors import InputError

TOKENS, PATCH, FRAMES, SCALE = 5, 8, 3, 0.005
RNG = np.random.default_rng(0)
MEAN = np.zeros((TOKENS, PATCH), np.float32)
INV_STD = np.full((TOKENS, PATCH), 1.0, np.float32)  # a standard deviation of 1 unit, 200 steps
IMAGE = RNG.uniform(0.5, 2.0, (TOKENS, PATCH)).astype(np.float32)


def windows(n: int, mean: float = 0.0, std: float = 200.0) -> np.ndarray:
    values = RNG.normal(mean, std, (n, FRAMES, TOKENS, PATCH))
    return np.rint(values).clip(-32767, 32767).astype(np.int16)


def statistics(given) -> np.ndarray:
    return window_statistics(given, mean=MEAN, inv_std=INV_STD, scale=SCALE, mean_image=IMAGE)


LIMITS = WindowLimits.of(statistics(windows(60)), [0.9, 0.95])


def test_statistics_are_those_of_the_definition():
    alive = INV_STD.copy()
    alive[0, :4] = 0
    mean = np.full_like(MEAN, 0.5)
    given = windows(2)
    given[1, 0, 3, 2] = 0
    given[1, 2, 1, 5] = 32767
    found = window_statistics(given, mean=mean, inv_std=alive, scale=SCALE)
    for window, row in zip(given, found, strict=True):
        kept = window[:, alive > 0].astype(np.float64)
        z = (SCALE * kept - 0.5) * 1.0
        np.testing.assert_allclose(
            row,
            [z.mean(), z.std(), (kept == 0).mean(), (np.abs(kept) == 32767).mean(), np.nan],
            rtol=1e-5,  # float32 products of the window
        )


def test_new_windows_of_the_same_kind_pass():
    assert [LIMITS.fault(row, 0.9) for row in statistics(windows(200))] == [""] * 200


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (RNG.integers(0, 1000, (1, FRAMES, TOKENS, PATCH)).astype(np.int16), "mean 2."),
        (np.zeros((1, FRAMES, TOKENS, PATCH), np.int16), "100% zero values"),
        (np.full((1, FRAMES, TOKENS, PATCH), 32767, np.int16), "100% clipped values"),
        (windows(1, std=2000.0), "spread"),
        (windows(1, std=20.0), "spread"),
        ((20 * IMAGE + windows(1, std=5.0)).astype(np.int16), "as raw intensities do"),
        (windows(1) * (RNG.random((1, FRAMES, TOKENS, PATCH)) < 0.8).astype(np.int16), "zero"),
    ],
    ids=[
        "raw intensities",
        "zeros",
        "saturated",
        "ten times",
        "a tenth",
        "anatomy",
        "a lost fifth",
    ],
)
def test_what_is_no_window_is_described_with_its_number(given, words):
    (row,) = statistics(given)
    assert words in LIMITS.fault(row)
    assert "training" in LIMITS.fault(row)


def test_the_mean_image_of_a_run_counts_where_training_runs_share_one():
    (row,) = statistics(windows(1))
    assert LIMITS.image == pytest.approx(0.45)
    assert LIMITS.fault(row, 0.44) == "mean image correlates 0.44 with training (at least 0.45)"
    assert LIMITS.fault(row, float("nan")) != ""
    assert LIMITS.fault(row, None) == ""
    none = WindowLimits.of(statistics(windows(60)), [0.1, 0.9])
    assert none.fault(row, -0.9) == ""


@pytest.mark.parametrize(
    "given",
    [windows(2).astype(np.float32), windows(2).astype(np.int32), windows(2)[:, :, :4]],
    ids=["float", "int32", "another grid"],
)
def test_what_is_not_the_steps_of_a_store_is_refused(given):
    with pytest.raises(InputError, match=r"windows must be \(F >= 1, 5, 8\) int16"):
        statistics(given)


def test_limits_survive_json_and_refuse_damage():
    value = LIMITS.to_json()
    assert WindowLimits.from_json(value) == LIMITS
    for change in ({"mean": [1, 0]}, {"zeros": "x"}, {"mean": [float("nan"), 1]}, {"more": 1}):
        with pytest.raises(InputError, match=r"WindowLimits.from_json"):
            WindowLimits.from_json({**value, **change})


def test_a_window_without_volumes_is_refused():
    with pytest.raises(InputError, match="F >= 1"):
        statistics(np.zeros((1, 0, TOKENS, PATCH), np.int16))
