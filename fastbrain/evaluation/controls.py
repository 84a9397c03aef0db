"""The control that decides: the same decoder, the same texts, somebody else's moment of brain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..errors import InputError


def derangements(
    blocks: Sequence[object], *, count: int = 100, seed: int = 0
) -> npt.NDArray[np.int64]:
    """Draw permutations that never give a sample a partner of its own block.

    Parameters
    ----------
    blocks : sequence, (N,)
        Label of each sample's run, window group or scan: neighbours in time share signal, so
        a partner from the same block would hand back part of the true brain.
    count : int
        How many permutations.
    seed : int

    Returns
    -------
    ndarray, (count, N) int64
        Row ``r`` names the partner of every sample; each row is a permutation.

    Raises
    ------
    InputError
        One block holds more than half of the samples: no such permutation exists.
    """
    labels = np.unique(np.asarray([str(b) for b in blocks]), return_inverse=True)[1]
    n = len(labels)
    largest = int(np.bincount(labels).max()) if n else 0
    if n < 2 or 2 * largest > n:
        raise InputError(
            f"derangements: every block must hold at most half of the samples, got {largest} of "
            f"{n} in one. Evaluate more runs, or use finer blocks."
        )
    if count < 1:
        raise InputError(f"derangements: count must be >= 1, got {count}.")
    rng = np.random.default_rng(seed)
    return np.stack([_derange(labels, rng) for _ in range(count)])


def _derange(labels: npt.NDArray[np.int64], rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Random permutation, its clashes swapped away with random others."""
    n = len(labels)
    partner = rng.permutation(n)
    clashes = np.flatnonzero(labels == labels[partner])
    while clashes.size:
        for i in rng.permutation(clashes):
            if labels[i] != labels[partner[i]]:
                continue  # an earlier swap has mended it
            # a good swap mends i and leaves j sound; after many misses, mending i alone moves on
            for attempt, j in enumerate(rng.integers(n, size=64)):
                mends = labels[i] != labels[partner[j]]
                if mends and (attempt > 48 or labels[j] != labels[partner[i]]):
                    partner[i], partner[j] = partner[j], partner[i]
                    break
        clashes = np.flatnonzero(labels == labels[partner])
    return partner.astype(np.int64)


@dataclass(frozen=True)
class Pairwise:
    """Result of :func:`pairwise`.

    Parameters
    ----------
    accuracy : float
        Share of (sample, derangement) pairs in which the true brain makes the true text more
        likely than the deranged brain does; ties count a half. Chance is 0.5.
    per_sample : ndarray, (N,) float64
    p : float
        Exact one-sided permutation p (stated before seeing the data: true > deranged) of the
        mean matched likelihood among the derangements.
    """

    accuracy: float
    per_sample: npt.NDArray[np.float64]
    p: float


def pairwise(nll: npt.ArrayLike, partners: npt.NDArray[np.int64]) -> Pairwise:
    """Compare the true brain with deranged brains by the likelihood of the true text.

    Teacher-forced: the score is of the model's likelihoods, not of free generation
    (BrainLLM, arXiv 2311.09889, "pairwise accuracy").

    Parameters
    ----------
    nll : array_like, (N, N)
        Mean negative log likelihood of text ``j`` given brain ``i``, nats a token.
    partners : ndarray, (R, N) int64
        From :func:`derangements`.

    Raises
    ------
    InputError
        A likelihood is not finite, or shapes disagree.
    """
    from .stats import permutation_p

    matrix = np.asarray(nll, dtype=np.float64)
    n = matrix.shape[0]
    if matrix.shape != (n, n) or partners.ndim != 2 or partners.shape[1] != n:
        raise InputError(
            f"pairwise: nll must be (N, N) and partners (R, N), got {matrix.shape} and "
            f"{partners.shape}."
        )
    if not np.isfinite(matrix).all():
        raise InputError(
            f"pairwise: nll must be finite, got {int((~np.isfinite(matrix)).sum())} values that "
            "are not. Check the decoder for NaN."
        )
    true = np.diag(matrix)
    other = matrix[partners, np.arange(n)]  # (R, N)
    wins = (true < other) + 0.5 * (true == other)
    return Pairwise(
        float(wins.mean()), wins.mean(axis=0), permutation_p(-true.mean(), -other.mean(axis=1))
    )
