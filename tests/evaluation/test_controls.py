"""Derangements and the pairwise test."""

from __future__ import annotations

import numpy as np
import pytest

from fastbrain.errors import InputError
from fastbrain.evaluation import derangements, pairwise


@pytest.mark.parametrize(
    "blocks", [["a", "b"], list("aabbcc"), list("aaaabbbb"), list("aaabbc"), list(range(31))]
)
def test_no_partner_of_the_same_block(blocks):
    partners = derangements(blocks, count=200, seed=3)
    labels = np.asarray(blocks)
    assert partners.shape == (200, len(blocks))
    assert (np.sort(partners, axis=1) == np.arange(len(blocks))).all()
    assert (labels[partners] != labels).all()


def test_all_allowed_partners_occur():
    partners = derangements(list("aabbcc"), count=2000, seed=0)
    share = np.stack([(partners == j).mean(axis=0) for j in range(6)])
    allowed = np.not_equal.outer(np.array(list("aabbcc")), np.array(list("aabbcc")))
    # uniform would be 0.25 each; a partner that never or always came would break the null
    assert (share[allowed] > 0.15).all()
    assert (share[allowed] < 0.35).all()


def test_is_seeded():
    one, same, other = (derangements(range(20), count=5, seed=s) for s in (1, 1, 2))
    assert (one == same).all()
    assert (one != other).any()


@pytest.mark.parametrize("blocks", [[], ["a"], ["a", "a"], list("aaab")])
def test_impossible_blocks_are_refused(blocks):
    with pytest.raises(InputError, match="at most half"):
        derangements(blocks, count=3)


def test_pairwise_of_a_perfect_and_of_a_useless_decoder():
    partners = derangements(range(12), count=100)
    perfect = pairwise(1.0 - np.eye(12), partners)
    assert perfect.accuracy == 1.0
    assert perfect.p == pytest.approx(1 / 101)
    useless = pairwise(np.tile(np.arange(12.0), (12, 1)), partners)  # the text alone decides
    assert useless.accuracy == 0.5
    assert useless.p == 1.0


def test_pairwise_counts_by_hand():
    nll = np.array([[1.0, 5.0, 2.0], [0.5, 3.0, 2.0], [4.0, 3.0, 2.0]])
    partners = np.array([[1, 2, 0], [2, 0, 1]])
    result = pairwise(nll, partners)
    # text 0: 1 vs .5 lost, 1 vs 4 won; text 1: 3 vs 3 tie, 3 vs 5 won; text 2: two ties
    assert result.per_sample.tolist() == [0.5, 0.75, 0.5]


def test_pairwise_p_is_uniform_on_noise():
    from scipy.stats import kstest

    rng = np.random.default_rng(10)
    blocks = np.repeat(np.arange(4), 6)
    p = np.array(
        [
            pairwise(rng.normal(size=(24, 24)), derangements(blocks, count=100, seed=s)).p
            for s in range(400)
        ]
    )
    # p moves in steps of 1/101: spread each step evenly before comparing with the continuum
    assert kstest(p - rng.uniform(0, 1 / 101, p.size), "uniform").pvalue > 0.01


def test_pairwise_refuses_nan():
    nll = np.zeros((4, 4))
    nll[1, 2] = np.nan
    with pytest.raises(InputError, match="finite"):
        pairwise(nll, derangements(range(4), count=2))
