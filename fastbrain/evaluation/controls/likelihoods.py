"""Pairwise accuracy: likelihood of the true text from the true and from deranged brains."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..._arguments import checked
from ...errors import InputError
from ...stats.derangements import check_partners, distinct_rows
from ...stats.inference import permutation_p


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
        Exact one-sided permutation p of the mean matched likelihood among the derangements
        (direction fixed before seeing the data: true > deranged); equal derangements count once.
    """

    accuracy: float
    per_sample: npt.NDArray[np.float64]
    p: float


@checked
def pairwise(nll: npt.ArrayLike, partners: npt.NDArray[np.int64]) -> Pairwise:
    """Compare the true brain with deranged brains, by the likelihood of the true text.

    Teacher-forced: the score uses the model's likelihoods, not free generation
    (BrainLLM, arXiv 2311.09889, "pairwise accuracy").

    Parameters
    ----------
    nll : array_like, (N, N)
        Mean negative log likelihood of text ``j`` given brain ``i``, nats per token.
    partners : ndarray, (R, N) int64
        From :func:`derangements`.

    Raises
    ------
    InputError
        A likelihood is not finite, or shapes differ.
    """
    matrix = np.asarray(nll, dtype=np.float64)
    n = len(matrix) if matrix.ndim else 0
    if matrix.shape != (n, n):
        raise InputError(f"pairwise: nll must be (N, N), got {matrix.shape}.")
    check_partners("pairwise", partners, n)
    _check_finite("nll", matrix)
    return pairwise_gathered(np.diag(matrix), matrix[partners, np.arange(n)], partners)


@checked
def pairwise_gathered(
    true: npt.ArrayLike,
    deranged: npt.ArrayLike,
    partners: npt.NDArray[np.int64] | None = None,
) -> Pairwise:
    """Compute :func:`pairwise` from the needed likelihoods only, without the N × N matrix.

    Parameters
    ----------
    true : array_like, (N,)
        Mean negative log likelihood of each text given its own brain, nats per token.
    deranged : array_like, (R, N)
        The same given the partner's brain; :meth:`Pairs.gather` returns both.
    partners : ndarray, (R, N) int64, optional
        The derangements; without them, all R count in p as if they were different.

    Raises
    ------
    InputError
        A likelihood is not finite, or shapes differ.
    """
    own, other = (np.asarray(v, dtype=np.float64) for v in (true, deranged))
    if own.ndim != 1 or other.ndim != 2 or other.shape[1:] != own.shape or not other.size:
        raise InputError(
            f"pairwise: true must be (N,) and deranged (R >= 1, N), got {own.shape} and "
            f"{other.shape}."
        )
    _check_finite("true", own)
    _check_finite("deranged", other)
    wins = (own < other) + 0.5 * (own == other)
    null = other.mean(axis=1)
    if partners is not None:
        if partners.shape != other.shape:
            raise InputError(
                f"pairwise_gathered: partners must be {other.shape}, got {partners.shape}."
            )
        null = null[distinct_rows(partners)]
    return Pairwise(float(wins.mean()), wins.mean(axis=0), permutation_p(-own.mean(), -null))


def _check_finite(name: str, values: npt.NDArray[np.float64]) -> None:
    bad = int((~np.isfinite(values)).sum())
    if bad:
        raise InputError(
            f"pairwise: {name} must be finite, got {bad} values that are not. Check the decoder "
            "for NaN."
        )
