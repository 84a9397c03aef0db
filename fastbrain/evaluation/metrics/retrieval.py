"""Retrieval scores: two-way and top-k accuracy with chance level, p and interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..._arguments import checked
from ...errors import InputError
from ...stats.derangements import check_partners, derangements, distinct_rows
from ...stats.inference import Interval, bootstrap_interval, permutation_p


@dataclass(frozen=True, eq=False)
class Found:
    """One retrieval score with its chance level.

    Parameters
    ----------
    value : float
        Mean over queries.
    chance : float
        Mean of the same score over the derangements.
    p : float
        Exact one-sided permutation p; direction fixed before seeing the data: true > deranged.
    interval : Interval or None
        Bootstrap over blocks; None for a single block.
    per_query : ndarray, (N,) float64
    """

    value: float
    chance: float
    p: float
    interval: Interval | None
    per_query: npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Retrieval:
    """Result of :func:`retrieval`.

    Parameters
    ----------
    two_way : Found
        Share of wrong candidates less similar than the right one; ties count a half.
    top : dict
        k to the share of queries with the right candidate among the k most similar.
    n : int
        Number of queries, and without groups that of candidates per query.
    """

    two_way: Found
    top: dict[int, Found]
    n: int


@checked
def retrieval(
    similarity: npt.ArrayLike,
    blocks: Sequence[object],
    *,
    ks: Sequence[int] = (1, 5),
    count: int = 1000,
    seed: int = 0,
    partners: npt.NDArray[np.int64] | None = None,
    groups: Sequence[object] = (),
) -> Retrieval:
    """Score the retrieval of each query's candidate among all N, with chance by derangements.

    Parameters
    ----------
    similarity : array_like, (N, N)
        Row i: similarity of query i (a prediction from brain data) to each candidate; candidate i
        is the right one. Larger is more similar.
    blocks : sequence, (N,)
        Label of each sample's story, passage, run or scan. Derangements pair samples only across
        blocks, and the intervals resample whole blocks.
    ks : sequence of int
    count : int
        Number of derangements.
    seed : int
    partners : ndarray, (R, N) int64, optional
        Derangements to use in place of `count` new ones.
    groups : sequence, (N,), optional
        Question of each sample: candidates are then the samples of its own group, and so are its
        partners. A candidate of another question would be excluded by the question alone.

    Returns
    -------
    Retrieval
        Candidates of equal similarity count as ranked in random order.

    Raises
    ------
    InputError
        The matrix is not square and finite, a k is out of range, `partners` are not those
        of N samples or leave the groups, or no derangement exists.
    """
    matrix = _checked(similarity, ks)
    n = len(matrix)
    if len(blocks) != n:
        raise InputError(f"retrieval: blocks must name all {n} samples, got {len(blocks)}.")
    if partners is None:
        partners = derangements(blocks, within=groups or None, count=count, seed=seed)
    check_partners("retrieval", partners, n)
    labels = np.unique([str(g) for g in groups or (0,) * n], return_inverse=True)[1]
    if len(labels) != n or (labels[partners] != labels).any():
        raise InputError(
            f"retrieval: groups must be {n} and hold the partners of their samples, got "
            f"{len(labels)}."
        )

    different = distinct_rows(partners)

    def found(scores: npt.NDArray[np.float64]) -> Found:
        # (N, N): score of query i if candidate j were the right one
        own = np.diag(scores)
        null = scores[np.arange(n), partners].mean(axis=1)
        value = float(own.mean())
        interval = bootstrap_interval(own, blocks=blocks, seed=seed)
        return Found(
            value, float(null.mean()), permutation_p(value, null[different]), interval, own
        )

    shares = np.zeros((1 + len(ks), n, n))
    for label in np.unique(labels):
        own = np.ix_(labels == label, labels == label)
        for share, part in zip(shares, _shares(*_ranks(matrix[own]), ks), strict=True):
            share[own] = part
    two_way, *top = map(found, shares)
    return Retrieval(two_way, dict(zip(ks, top, strict=True)), n)


@checked
def retrieval_scores(
    similarity: npt.ArrayLike, *, ks: Sequence[int] = (1, 5)
) -> npt.NDArray[np.float64]:
    """Score each query, for a null distribution that refits the model.

    Cross-validation folds train on each other's test samples, and in a comparison of each subject
    with the mean of the others every subject occurs on both sides. Their errors are correlated, so
    derangements of finished predictions give a p that is too small. Instead, derange first, refit,
    pool these scores, and compare the means with :func:`fastbrain.stats.permutation_p`.

    Parameters
    ----------
    similarity : array_like, (N, N)
        As in :func:`retrieval`.
    ks : sequence of int

    Returns
    -------
    ndarray, (1 + K, N) float64
        Row 0: share of wrong candidates less similar than the right one; then one row per k:
        whether the right one is among the k most similar. Ties as in :func:`retrieval`.

    Raises
    ------
    InputError
        As :func:`retrieval`.
    """
    matrix = _checked(similarity, ks)
    own = np.diag(matrix)[:, None]
    above, equal = (matrix > own).sum(axis=1), (matrix == own).sum(axis=1) - 1
    return np.stack(_shares(above, equal, ks))


def _checked(similarity: npt.ArrayLike, ks: Sequence[int]) -> npt.NDArray[np.float64]:
    matrix = np.asarray(similarity, dtype=np.float64)
    n = len(matrix) if matrix.ndim else 0
    if matrix.shape != (n, n) or n < 2:
        raise InputError(f"retrieval: similarity must be (N >= 2, N), got {matrix.shape}.")
    if not np.isfinite(matrix).all():
        raise InputError(
            f"retrieval: similarity must be finite, got {int((~np.isfinite(matrix)).sum())} "
            "values that are not. A constant prediction has no correlation."
        )
    if any(not 1 <= k <= n for k in ks):
        raise InputError(f"retrieval: ks must be in [1, {n}], got {tuple(ks)}.")
    return matrix


def _shares(
    above: npt.NDArray[Any], equal: npt.NDArray[Any], ks: Sequence[int]
) -> list[npt.NDArray[np.float64]]:
    """Two-way score, then top-k scores; ties count as ranked in random order."""
    n = len(above)
    two_way = (n - 1 - above - 0.5 * equal) / (n - 1)
    return [two_way, *(np.clip((k - above) / (equal + 1), 0.0, 1.0) for k in ks)]


def _ranks(
    matrix: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Count, for each entry, the other entries of its row that are larger, and those equal."""
    ordered = np.sort(matrix, axis=1)
    low = np.stack(
        [np.searchsorted(o, row, "left") for o, row in zip(ordered, matrix, strict=True)]
    )
    high = np.stack(
        [np.searchsorted(o, row, "right") for o, row in zip(ordered, matrix, strict=True)]
    )
    return (matrix.shape[1] - high).astype(np.float64), (high - low - 1).astype(np.float64)
