"""Derangements and the pairwise test."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from fastbrain.errors import InputError
from fastbrain.evaluation import pairwise, pairwise_gathered
from fastbrain.stats import derangements, needed_pairs
from fastbrain.stats.derangements import check_partners, distinct_rows


@pytest.mark.parametrize(
    "blocks", [["a", "b"], list("aabbcc"), list("aaaabbbb"), list("aaabbc"), list(range(31))]
)
def test_no_partner_of_the_same_block(blocks):
    partners = derangements(blocks, count=200, seed=3)
    labels = np.asarray(blocks)
    assert partners.shape == (200, len(blocks))
    assert (np.sort(partners, axis=1) == np.arange(len(blocks))).all()
    assert (labels[partners] != labels).all()


@pytest.mark.parametrize(
    ("partners", "message"),
    [
        ([[1, 0, 2]], "got 1 that are the sample itself"),
        (np.zeros((0, 3), dtype=int), "must be .R >= 1, 3. numbers of samples"),
        ([1, 2, 0], "must be .R >= 1, 3. numbers of samples"),
        ([[1, 2, 3]], "must be .R >= 1, 3. numbers of samples"),
    ],
)
def test_what_is_no_partner_is_refused(partners, message):
    with pytest.raises(InputError, match=message):
        check_partners("pairwise", np.array(partners), 3)


def test_all_allowed_partners_occur():
    partners = derangements(list("aabbcc"), count=2000, seed=0)
    share = np.stack([(partners == j).mean(axis=0) for j in range(6)])
    allowed = np.not_equal.outer(np.array(list("aabbcc")), np.array(list("aabbcc")))
    # uniform would be 0.25 each; a partner that never or always came would break the null
    assert (share[allowed] > 0.15).all()
    assert (share[allowed] < 0.35).all()


NESTED = (np.repeat(np.arange(4), 6), np.repeat(np.arange(8), 3))  # runs, windows in them
CROSSED = (np.repeat(np.arange(3), 8), np.tile(np.arange(4), 6))  # people, stories all heard
TIGHT = (list("aabb"), list("xyxy"))  # every sample has one partner only


@pytest.mark.parametrize("kinds", [NESTED, CROSSED, TIGHT], ids=["nested", "crossed", "tight"])
def test_no_partner_shares_any_label(kinds):
    partners = derangements(*kinds, count=100, seed=1)
    assert (np.sort(partners, axis=1) == np.arange(partners.shape[1])).all()
    for labels in map(np.asarray, kinds):
        assert (labels[partners] != labels).all()


def test_labels_that_leave_no_partner_are_refused():
    # no kind is more than half, but the first sample shares a label with each of the others
    with pytest.raises(InputError, match="leave every sample a partner"):
        derangements(list("aabb"), list("xyxy"), list("pqqp"), count=1)


def test_kinds_of_labels_are_equally_long():
    with pytest.raises(InputError, match="equal length"):
        derangements("abc", "ab")


def test_neighbours_stay_neighbours():
    """A derangement is made of stretches: 4 runs of 50 are cut in few places."""
    partners = derangements(np.repeat(np.arange(4), 50), count=50)
    seams = (np.diff(partners, axis=1) != 1).sum(axis=1)
    assert seams.max() <= 4 * 2


@pytest.mark.parametrize("sizes", [[10, 20, 30], [1, 1, 2], [5, 4, 3, 2]])
def test_unequal_blocks(sizes):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    partners = derangements(labels, count=300)
    assert (np.sort(partners, axis=1) == np.arange(len(labels))).all()
    assert (labels[partners] != labels).all()


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
    # the noise is new each time; ten matrices share their derangements, which take the time
    drawn = [derangements(blocks, count=100, seed=seed) for seed in range(40)]
    p = np.array([pairwise(rng.normal(size=(24, 24)), drawn[i % 40]).p for i in range(400)])
    # p moves in steps of 1/101: spread each step evenly before comparing with the continuum
    assert kstest(p - rng.uniform(0, 1 / 101, p.size), "uniform").pvalue > 0.01


def test_pairwise_refuses_nan():
    nll = np.zeros((4, 4))
    nll[1, 2] = np.nan
    with pytest.raises(InputError, match="finite"):
        pairwise(nll, derangements(range(4), count=2))


def test_gathered_equals_the_matrix():
    rng = np.random.default_rng(0)
    texts = [f"text {i % 7}" for i in range(24)]
    by_text = rng.normal(size=(24, 7))
    matrix = by_text[:, [i % 7 for i in range(24)]]
    partners = derangements(np.repeat(np.arange(4), 6), count=20)
    pairs = needed_pairs(partners, texts)
    assert len(np.unique(pairs.index, axis=0)) == len(pairs.index) <= 24 * 7
    true, deranged = pairs.gather(matrix[pairs.index[:, 0], pairs.index[:, 1]])
    expected, got = pairwise(matrix, partners), pairwise_gathered(true, deranged)
    assert (got.per_sample == expected.per_sample).all()
    assert (got.accuracy, got.p) == (expected.accuracy, expected.p)


def test_pairs_without_texts_are_samples():
    pairs = needed_pairs(np.array([[1, 2, 0], [1, 2, 0]]))
    assert pairs.index.tolist() == [[0, 0], [0, 2], [1, 0], [1, 1], [2, 1], [2, 2]]
    assert pairs.true.tolist() == [0, 3, 5]
    assert pairs.deranged.tolist() == [[2, 4, 1]] * 2


@pytest.mark.parametrize(
    ("true", "deranged"), [(np.zeros(3), np.zeros((2, 4))), (np.zeros(3), np.zeros((0, 3)))]
)
def test_gathered_shapes_are_checked(true, deranged):
    with pytest.raises(InputError, match="must be"):
        pairwise_gathered(true, deranged)


def test_bookkeeping_grows_with_the_samples_alone():
    """No N × N: ten times the samples need about ten times the memory."""

    def peak(n: int) -> int:
        tracemalloc.start()
        partners = derangements(np.repeat(np.arange(n // 20), 20), count=20)
        pairs = needed_pairs(partners)
        pairwise_gathered(*pairs.gather(np.arange(len(pairs.index))))
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return top

    assert peak(4000) < 15 * peak(400)
    # 21 numbers a sample, in a dozen arrays of 8 bytes; a matrix would be 128 MB
    assert peak(4000) < 4000 * 21 * 8 * 20


def test_distinct_rows_are_the_first_of_equal_ones():
    rows = np.array([[1, 0, 2], [2, 0, 1], [1, 0, 2], [2, 0, 1], [0, 2, 1]])
    assert distinct_rows(rows).tolist() == [0, 1, 4]
    assert distinct_rows(rows[:, :0]).tolist() == [0]


@pytest.mark.parametrize("repeats", [1, 3])
def test_equal_derangements_count_once_in_p(repeats):
    partners = np.array([[1, 2, 0], [2, 0, 1]])
    nll = 1.0 - np.eye(3)
    repeated = np.repeat(partners, repeats, axis=0)
    assert pairwise(nll, repeated).p == 1 / 3
    deranged = np.ones(repeated.shape)
    assert pairwise_gathered(np.zeros(3), deranged).p == 1 / (1 + 2 * repeats)
    assert pairwise_gathered(np.zeros(3), deranged, repeated).p == 1 / 3
    # derangements that differ stay apart, whatever their likelihoods
    with pytest.raises(InputError, match="partners must be"):
        pairwise_gathered(np.zeros(3), deranged, partners[:1])
