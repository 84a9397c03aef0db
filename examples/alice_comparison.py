"""Choices between two segments of a story, each by a model that has seen neither.

Every choice belongs to a pair of blocks of BLOCK segments, and has its own model: neither these
blocks nor GUARD segments on either side of them are in training, for anybody. The guard is longer
than the response to a segment, and than the words that the response follows.
"""

from __future__ import annotations

import itertools

import numpy as np

from fastbrain.errors import CohortError

KS = (1, 5)
BLOCK, GUARD = 3, 2  # segments
LEFT_OUT = (
    f"the listener or half tested; both segments compared, their blocks of {BLOCK} and {GUARD} "
    "segments on either side of each block, for the query and for all others"
)
SHRINKAGE = 0.1  # of the covariance towards the identity


def comparisons(count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Segments that may train (P, N) and are tested (P, N) with each pair of blocks, and the pair
    (N, N) that decides between two segments."""
    block = np.arange(count) // BLOCK
    pairs = list(itertools.combinations_with_replacement(range(block[-1] + 1), 2))
    tested = np.array([np.isin(block, pair) for pair in pairs])
    away = np.abs(np.arange(count)[:, None] - np.arange(count))
    train = np.array([away[:, row].min(axis=1) > GUARD for row in tested])
    if (train.sum(axis=1) < BLOCK).any():
        raise CohortError(f"alice: {count} segments are too few to leave two blocks out.")
    table = {pair: i for i, pair in enumerate(pairs)}
    which = [[table[min(a, b), max(a, b)] for b in block] for a in block]
    return train, tested, np.array(which)


def whitening(others: list[np.ndarray], train: np.ndarray) -> np.ndarray:
    """Inverse covariance of regions across listeners in the training segments, (P, R, R)."""
    total = np.sum(others, axis=0)
    moment = sum(x.swapaxes(1, 2) @ x for x in others)
    within = moment - total.swapaxes(1, 2) @ total / len(others)  # (N, R, R)
    scatter = np.tensordot(train.astype(float), within, axes=1)
    regions = scatter.shape[1]
    scatter /= np.trace(scatter, axis1=1, axis2=2)[:, None, None] / regions
    return np.linalg.inv((1 - SHRINKAGE) * scatter + SHRINKAGE * np.eye(regions))


def cosines(query: np.ndarray, candidates: np.ndarray, metric: np.ndarray) -> np.ndarray:
    """Of each segment with each candidate, (P, N, N), up to the length of the query."""
    flat = metric.reshape(len(metric), -1)
    cross = np.einsum("itd,jte->deij", query, candidates, optimize=True)
    own = np.einsum("jtd,jte->dej", candidates, candidates, optimize=True)
    products = flat @ cross.reshape(flat.shape[1], -1)
    lengths = np.sqrt(flat @ own.reshape(flat.shape[1], -1))
    return products.reshape(-1, len(query), len(query)) / lengths[:, None]


def ranks(similar: np.ndarray, which: np.ndarray) -> np.ndarray:
    """Right of two, first, among five, (3, N), each choice of two by its own pair of blocks."""
    at = np.arange(len(which))
    other, own = similar[which, at[:, None], at], similar[which, at[:, None], at[:, None]]
    lost = ((other > own) + 0.5 * (other == own)).sum(axis=1) - 0.5  # but not to itself
    return np.stack([1 - lost / (len(at) - 1), *(lost < k for k in KS)])
