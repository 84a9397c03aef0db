"""Nearest-text unigram model: a baseline from the words of the nearest training texts."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..._arguments import checked
from ...errors import InputError


@checked
def nearest_text_unigram(
    similarity: npt.ArrayLike,
    train_counts: npt.ArrayLike,
    *,
    temperature: float = 0.2,
    corpus_share: float = 0.5,
    smoothing: float = 1e-3,
) -> npt.NDArray[np.float64]:
    """Log probability of every word given each brain, from similar training texts.

    The word counts of the training texts are averaged with weights from a softmax over their
    similarity to the prediction from the brain, and this mixture is mixed with the counts of all
    training texts. Word order is ignored: scores above chance reflect the topic.

    Parameters
    ----------
    similarity : array_like, (N, M)
        Similarity of each prediction to each training text, for instance the cosine of embeddings.
        All zeros give the same model without a brain.
    train_counts : array_like, (M, W)
        Count of each word in each training text, non-negative. Words in no training text have the
        same probability for every brain.
    temperature : float
        Temperature of the softmax.
    corpus_share : float
        Weight of the counts of all training texts in the mixture, in (0, 1).
    smoothing : float
        Added to the corpus count of each word, > 0.

    Returns
    -------
    ndarray, (N, W) float64
        Natural logarithms of probabilities.

    Raises
    ------
    InputError
        Shapes differ, a value is not finite, counts are negative or all zero, or an option is
        out of range.
    """
    near = np.asarray(similarity, dtype=np.float64)
    counts = np.asarray(train_counts, dtype=np.float64)
    if near.ndim != 2 or counts.ndim != 2 or near.shape[1] != len(counts) or not near.size:
        raise InputError(
            "nearest_text_unigram: similarity and train_counts must be (N, M) and (M, W), got "
            f"{near.shape} and {counts.shape}."
        )
    if not np.isfinite(near).all():
        raise InputError("nearest_text_unigram: similarity must be finite, got NaN or infinity.")
    if not (np.isfinite(counts).all() and (counts >= 0).all() and counts.any()):
        raise InputError(
            "nearest_text_unigram: train_counts must be finite, >= 0 and not all zero, got others."
        )
    if not (temperature > 0 and 0 < corpus_share < 1 and smoothing > 0):
        raise InputError(
            "nearest_text_unigram: temperature and smoothing must be > 0 and corpus_share in "
            f"(0, 1), got {temperature}, {smoothing} and {corpus_share}."
        )
    weights = np.exp((near - near.max(axis=1, keepdims=True)) / temperature)
    mixed = weights @ counts
    seen = counts.sum(axis=0) > 0
    corpus = counts.sum(axis=0) + smoothing
    corpus /= corpus.sum()
    # all texts with counts may have weight 0 (underflow): fall back to the corpus
    mass = mixed.sum(axis=1, keepdims=True)
    mixed = np.divide(mixed, mass, out=np.broadcast_to(corpus, mixed.shape).copy(), where=mass > 0)
    blended = (1 - corpus_share) * mixed + corpus_share * corpus
    blended[:, ~seen] = corpus[~seen]
    log: npt.NDArray[np.float64] = np.log(blended)
    return log


@checked
def spread_counts(
    counts: npt.ArrayLike,
    vectors: npt.ArrayLike,
    *,
    temperature: float = 0.1,
    share: float = 0.5,
) -> npt.NDArray[np.float64]:
    """Spread part of each word count over words of similar meaning.

    A word of an unseen text is seldom in the training texts, but similar words are.

    Parameters
    ----------
    counts : array_like, (M, W)
    vectors : array_like, (W, D)
        A vector of each word that does not depend on the texts, for instance the input embeddings
        of a language model minus their mean over its whole vocabulary.
    temperature : float
        Temperature of the softmax over cosines; small values spread only to the nearest words.
    share : float
        Fraction of each count to spread, in [0, 1].

    Returns
    -------
    ndarray, (M, W) float64
        Spread counts; the total count of each text is unchanged.

    Raises
    ------
    InputError
        Shapes differ, or an option is out of range.
    """
    table = np.asarray(counts, dtype=np.float64)
    words = np.asarray(vectors, dtype=np.float64)
    if table.ndim != 2 or words.ndim != 2 or table.shape[1] != len(words):
        raise InputError(
            "spread_counts: counts and vectors must be (M, W) and (W, D), got "
            f"{table.shape} and {words.shape}."
        )
    if not (temperature > 0 and 0 <= share <= 1):
        raise InputError(
            "spread_counts: temperature must be > 0 and share in [0, 1], got "
            f"{temperature} and {share}."
        )
    unit = words / np.maximum(np.linalg.norm(words, axis=1, keepdims=True), 1e-12)
    kin = np.exp((unit @ unit.T - 1) / temperature)
    kin /= kin.sum(axis=1, keepdims=True)
    return (1 - share) * table + share * (table @ kin)
