"""Retrieval by hand, its ties, its chance level, and correlations."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from fastbrain.errors import InputError
from fastbrain.evaluation import correlations, retrieval


def test_by_hand():
    similarity = [[3, 1, 2, 0], [5, 4, 1, 0], [9, 8, 7, 6], [0, 0, 0, 1]]
    found = retrieval(similarity, "abcd", ks=(1, 2, 3), count=10)
    # the right one is 1st, 2nd, 3rd, 1st of four
    assert found.two_way.value == pytest.approx((3 + 2 + 1 + 3) / 12)
    assert [found.top[k].value for k in (1, 2, 3)] == pytest.approx([0.5, 0.75, 1.0])
    assert found.n == 4


def test_equal_candidates_are_drawn_at_random():
    found = retrieval(np.ones((5, 5)), range(5), ks=(1, 2, 5), count=10)
    assert found.two_way.value == 0.5
    assert [found.top[k].value for k in (1, 2, 5)] == pytest.approx([0.2, 0.4, 1.0])
    assert found.two_way.p == 1.0


def test_perfect_retrieval_is_beyond_its_null():
    found = retrieval(np.eye(60), np.repeat(np.arange(12), 5), count=99)
    assert found.two_way.value == 1.0
    assert found.top[1].value == 1.0
    assert found.two_way.p == pytest.approx(0.01)
    assert found.two_way.interval.as_list() == [1.0, 1.0]
    # a deranged query is right by chance alone
    assert found.top[1].chance == 0.0


def test_noise_is_at_chance_with_uniform_p():
    p = []
    for run in range(200):
        similarity = np.random.default_rng(run).normal(size=(24, 24))
        found = retrieval(similarity, np.repeat(np.arange(8), 3), ks=(1,), count=99, seed=run)
        assert abs(found.two_way.chance - 0.5) < 0.1
        p.append(found.two_way.p)
    assert stats.kstest(p, "uniform").pvalue > 0.01


@pytest.mark.parametrize(
    ("similarity", "blocks", "ks", "contract"),
    [
        (np.zeros((3, 2)), "abc", (1,), r"similarity must be \(N >= 2, N\)"),
        (np.full((3, 3), np.nan), "abc", (1,), "similarity must be finite"),
        (np.eye(3), "ab", (1,), "blocks must name all 3"),
        (np.eye(3), "abc", (4,), r"ks must be in \[1, 3\]"),
        (np.eye(3), "aab", (1,), "at most half of the samples"),
    ],
)
def test_mistakes_are_named(similarity, blocks, ks, contract):
    with pytest.raises(InputError, match=contract):
        retrieval(similarity, blocks, ks=ks)


def test_correlations_are_pearson():
    rng = np.random.default_rng(0)
    predicted, candidates = rng.normal(size=(7, 31)), rng.normal(size=(5, 31))
    expected = np.corrcoef(predicted, candidates)[:7, 7:]
    np.testing.assert_allclose(correlations(predicted, candidates), expected, rtol=1e-12)
    with pytest.raises(InputError, match="candidates must vary within each row, got 5"):
        correlations(predicted, np.ones((5, 31)))
    with pytest.raises(InputError, match=r"must be \(N, D\) and \(M, D\)"):
        correlations(predicted, candidates[:, :3])
