"""Intervals cover, p-values are exact."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from fastbrain.errors import InputError
from fastbrain.stats import adjusted_p, bootstrap_interval, effect_size, permutation_p, sign_flip_p


@pytest.mark.parametrize(
    ("observed", "null", "p"),
    [(2.0, [1.0, 3.0, 2.0], 0.75), (9.0, [0.0] * 99, 0.01), (0.0, [0.0] * 4, 1.0)],
)
def test_permutation_p_by_hand(observed, null, p):
    assert permutation_p(observed, null) == pytest.approx(p)


@pytest.mark.parametrize(
    ("bad", "message"),
    [([], "null must be"), ([np.nan], "must be finite"), ([[1.0]], "null must be")],
)
def test_permutation_p_refuses(bad, message):
    with pytest.raises(InputError, match=message):
        permutation_p(0.0, bad)


def test_interval_covers_the_mean():
    rng = np.random.default_rng(1)
    hits = 0
    for trial in range(200):
        interval = bootstrap_interval(rng.normal(size=40), resamples=300, seed=trial)
        hits += interval.low <= 0 <= interval.high
    assert 0.88 <= hits / 200 <= 0.99  # nominal 0.95


def test_blocks_widen_the_interval_of_repeated_values():
    values = np.repeat(np.random.default_rng(0).normal(size=10), 20)
    alone = bootstrap_interval(values)
    together = bootstrap_interval(values, blocks=np.repeat(np.arange(10), 20))
    assert together.high - together.low > 3 * (alone.high - alone.low)


def test_own_statistic_equals_the_fast_mean():
    values = np.random.default_rng(0).normal(size=15)
    fast = bootstrap_interval(values, resamples=200, seed=4)
    slow = bootstrap_interval(values, resamples=200, seed=4, statistic=lambda v: float(v.mean()))
    assert fast.as_list() == pytest.approx(slow.as_list())


@pytest.mark.parametrize("blocks", [["a"] * 4, None])
def test_a_single_block_has_no_interval(blocks):
    values = [0.2, 0.9, 0.4, 0.5] if blocks else [0.7]
    assert bootstrap_interval(values, blocks=blocks) is None


@pytest.mark.parametrize("bad", [[], [np.inf, 1.0], [[1.0, 2.0]]])
def test_interval_refuses(bad):
    with pytest.raises(InputError, match="values must be"):
        bootstrap_interval(bad)


def test_sign_flips_by_hand():
    # of the four patterns of (3, 1) only the observed one reaches 4
    assert sign_flip_p([3.0, 1.0]) == 0.25
    # swapping the sign of a zero changes nothing
    assert sign_flip_p([2.0, 0.0]) == 0.5
    assert sign_flip_p([0.1] * 3) == 0.125


def test_random_sign_flips_come_near_all_of_them():
    values = np.random.default_rng(0).normal(0.4, 1, size=14)
    every = sign_flip_p(values, flips=1 << 14)
    assert sign_flip_p(values, flips=(1 << 14) - 1) == pytest.approx(every, abs=0.01)


def test_sign_flip_p_of_noise_is_uniform():
    p = [sign_flip_p(np.random.default_rng(k).normal(size=12)) for k in range(300)]
    assert stats.kstest(p, "uniform").pvalue > 0.01


def test_adjusted_p_is_benjamini_hochberg():
    np.testing.assert_allclose(
        adjusted_p([[0.01, 0.04], [0.03, 0.5]]), [[0.04, 0.16 / 3], [0.16 / 3, 0.5]]
    )
    with pytest.raises(InputError, match="p must be in"):
        adjusted_p([0.5, np.nan])


def test_effect_size_by_hand():
    assert effect_size([1.0, 3.0]) == pytest.approx(2 / np.sqrt(2))
    with pytest.raises(InputError, match="must vary"):
        effect_size([1.0, 1.0])
    with pytest.raises(InputError, match="differences must be"):
        effect_size([1.0])


@pytest.mark.parametrize("value", [0.1, 0.3, -7.7])
def test_equal_differences_have_no_effect_size(value):
    """Their standard deviation is not exactly 0, because their mean is rounded."""
    with pytest.raises(InputError, match="must vary"):
        effect_size([value] * 3)


def test_sign_flips_of_more_subjects_than_a_float_has_exponents():
    assert sign_flip_p(np.ones(1100), flips=99) == pytest.approx(0.01)


def test_the_bad_statistic_is_named():
    def half_the_time(values):
        return float("nan") if values[0] > 0.5 else 1.0

    with pytest.raises(InputError, match="got nan for one"):
        bootstrap_interval([0.0, 1.0, 0.0], statistic=half_the_time)
