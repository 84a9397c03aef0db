"""Agreement of raters, exact binomial statistics and the crossed bootstrap, at known values."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from fastbrain.errors import InputError
from fastbrain.stats import (
    binomial_interval,
    binomial_p,
    crossed_interval,
    fleiss_kappa,
    krippendorff_alpha,
)

# Krippendorff, Computing Krippendorff's Alpha-Reliability (2011), sections A to C: one line for
# each observer, "." for a missing rating; alpha is printed with three digits
PRINTED = {
    "two observers, two categories": (["0100000010", "1110010000"], 0.095),
    "two observers, five categories": (["aabbdcccedda", "babbbccceddd"], 0.692),
    "four observers, missing ratings": (
        ["123321412...", "1233224125.3", ".3332342251.", "12332441251."],
        0.743,
    ),
}
# Fleiss' kappa, the worked example of Wikipedia: 14 raters, 10 units, five categories, kappa 0.210
FLEISS = """0 0 0 0 14; 0 2 6 4 2; 0 0 3 5 6; 0 3 9 2 0; 2 2 8 1 1; 7 7 0 0 0; 3 2 6 3 0; 2 5 3 2 2;
6 5 2 1 0; 0 2 2 3 7"""
HALF_DIGIT = 5e-4


def coded(lines):
    return [[np.nan if c == "." else float(ord(c)) for c in line] for line in lines]


@pytest.mark.parametrize("name", PRINTED)
def test_alpha_of_the_printed_examples(name):
    lines, alpha = PRINTED[name]
    assert krippendorff_alpha(coded(lines)) == pytest.approx(alpha, abs=HALF_DIGIT)


def test_alpha_at_its_limits():
    assert krippendorff_alpha([[1, 2, 1], [1, 2, 1]]) == 1
    assert krippendorff_alpha([[1, 1], [1, 1]]) is None
    assert krippendorff_alpha([[1, np.nan], [np.nan, 2]]) is None
    rng = np.random.default_rng(0)
    assert krippendorff_alpha(rng.integers(3, size=(4, 3000))) == pytest.approx(0, abs=0.03)


def test_kappa_of_the_printed_example():
    counts = [[int(n) for n in row.split()] for row in FLEISS.split(";")]
    assert fleiss_kappa(counts) == pytest.approx(0.210, abs=HALF_DIGIT)
    assert fleiss_kappa([[3, 0], [0, 3]]) == 1
    assert fleiss_kappa([[3, 0], [3, 0]]) is None


@pytest.mark.parametrize(
    ("successes", "trials"), [(0, 1), (0, 7), (3, 7), (4, 8), (11, 13), (9, 9)]
)
def test_binomial_like_scipy(successes, trials):
    exact = binomtest(successes, trials)
    assert binomial_p(successes, trials) == pytest.approx(exact.pvalue, rel=1e-9)
    for level in (0.95, 0.8):
        found = binomial_interval(successes, trials, level=level)
        wanted = exact.proportion_ci(level, method="exact")
        assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high), abs=1e-9)


def test_crossed_interval_covers_what_simple_ones_miss():
    """Answers with an effect of rater and of item: raters × items from a known population."""
    rng, covered, simple = np.random.default_rng(1), [], []
    raters, items = np.repeat(range(9), 11), np.tile(range(11), 9)
    for seed in range(120):
        chance = 0.5 + 0.2 * rng.choice([-1, 1], 9)[raters] + 0.2 * rng.choice([-1, 1], 11)[items]
        said = (rng.random(99) < chance).astype(float)
        both = crossed_interval(said, raters, items, resamples=400, seed=seed)
        exact = binomial_interval(int(said.sum()), 99)
        covered.append(both.low <= 0.5 <= both.high)
        simple.append(exact.low <= 0.5 <= exact.high)
    assert np.mean(covered) >= 0.9  # 0.95 less 2.5 standard errors of 120 experiments
    assert np.mean(simple) < np.mean(covered) - 0.1


def test_crossed_interval_with_a_single_level():
    said = [1.0, 0.0, 1.0, 1.0, 0.0]
    alone = crossed_interval(said, "aaaaa", "vwxyz")
    assert 0 <= alone.low < 0.6 < alone.high <= 1
    assert crossed_interval(said, "aaaaa", "vwxyz") == alone
    assert crossed_interval([1.0, 0.0], "aa", "xx") is None
    assert crossed_interval([1.0] * 5, "ababa", "vwxyz").as_list() == [1, 1]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: binomial_p(3, 2), "successes must be at most 2"),
        (lambda: binomial_p(0, 0), "trials must"),
        (lambda: binomial_interval(1, 2, level=1.0), "level must be in"),
        (lambda: krippendorff_alpha([1.0, 2.0]), "ratings must"),
        (lambda: krippendorff_alpha([[np.inf, 1.0], [1.0, 1.0]]), "ratings must"),
        (lambda: fleiss_kappa([[1, 1], [2, 1]]), "the same number of raters"),
        (lambda: fleiss_kappa([[1, 0]]), "2 or more, got 1"),
        (lambda: crossed_interval([1.0], "ab", "a"), "first and second must"),
        (lambda: crossed_interval([np.nan], "a", "a"), "values must"),
        (lambda: crossed_interval([1.0], "a", "a", level=0.0), "level must be in"),
    ],
)
def test_what_has_no_answer_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()


@pytest.mark.parametrize("bad", [[[np.inf, 1.0]] * 2, [[1.5, 0.5]], [[np.nan, 2.0]]])
def test_kappa_refuses_what_is_no_count(bad):
    with pytest.raises(InputError, match="counts must be whole numbers"):
        fleiss_kappa(bad)
