"""The nearest-text unigram baseline: known values, and nothing of the brain in unseen words."""

from __future__ import annotations

import numpy as np
import pytest

from fastbrain.errors import InputError
from fastbrain.evaluation import nearest_text_unigram, retrieval_scores, spread_counts

COUNTS = np.array([[2.0, 0, 0], [0, 2, 0]])


def test_unigram_by_hand():
    log = nearest_text_unigram(
        [[1.0, 0.0]], COUNTS[:, :2], temperature=1.0, corpus_share=0.5, smoothing=1e-9
    )
    near = np.exp([1, 0]) / np.exp([1, 0]).sum()
    np.testing.assert_allclose(np.exp(log[0]), 0.5 * near + 0.25, rtol=1e-6)


def test_every_brain_gives_a_distribution_and_unseen_words_no_evidence():
    log = nearest_text_unigram([[1.0, -1.0], [-900.0, 900.0]], COUNTS)
    np.testing.assert_allclose(np.exp(log[:, :2]).sum(axis=1), 1, atol=1e-3)
    assert log[0, 2] == log[1, 2]
    assert np.isfinite(log).all()


def test_equal_similarity_is_the_model_without_a_brain():
    counts = np.array([[3.0, 1], [1, 5]])
    log = nearest_text_unigram(np.zeros((1, 2)), counts, smoothing=1e-12)
    np.testing.assert_allclose(np.exp(log[0]), [0.4, 0.6], rtol=1e-6)


def test_words_lend_to_their_relatives_and_totals_stay():
    vectors = np.array([[1.0, 0], [0.9, 0.1], [-1, 0]])
    lent = spread_counts(COUNTS, vectors, temperature=0.1, share=0.5)
    np.testing.assert_allclose(lent.sum(axis=1), COUNTS.sum(axis=1))
    assert lent[0, 1] > 0.3 > 1e-6 > lent[0, 2]
    np.testing.assert_array_equal(spread_counts(COUNTS, vectors, share=0.0), COUNTS)


@pytest.mark.parametrize(
    ("similarity", "counts", "options", "match"),
    [
        (np.zeros((1, 3)), COUNTS, {}, r"\(N, M\)"),
        ([[np.nan, 0]], COUNTS, {}, "finite"),
        (np.zeros((1, 2)), -COUNTS, {}, ">= 0"),
        (np.zeros((1, 2)), 0 * COUNTS, {}, "not all zero"),
        (np.zeros((1, 2)), COUNTS, {"temperature": 0.0}, "temperature"),
        (np.zeros((1, 2)), COUNTS, {"corpus_share": 1.0}, "corpus_share"),
    ],
)
def test_bad_input_is_refused(similarity, counts, options, match):
    with pytest.raises(InputError, match=match):
        nearest_text_unigram(similarity, counts, **options)


def test_retrieval_scores_with_ties():
    scores = retrieval_scores([[3.0, 1, 2], [5, 5, 0], [1, 2, 0]], ks=(1, 2))
    np.testing.assert_allclose(scores, [[1, 0.75, 0], [1, 0.5, 0], [1, 1, 0]])
