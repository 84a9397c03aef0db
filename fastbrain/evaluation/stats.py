"""Intervals and p-values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..errors import InputError


@dataclass(frozen=True)
class Interval:
    """A bootstrap percentile interval.

    Parameters
    ----------
    low, high : float
    level : float
        Nominal coverage, e.g. 0.95.
    """

    low: float
    high: float
    level: float = 0.95

    def as_list(self) -> list[float]:
        """``[low, high]``, for JSON."""
        return [self.low, self.high]


def permutation_p(observed: float, null: npt.ArrayLike) -> float:
    """Exact one-sided p of a permutation test: how often the null is at least as large.

    Parameters
    ----------
    observed : float
        Larger is better.
    null : array_like, (R,)
        The statistic under R permutations.

    Returns
    -------
    float
        ``(1 + #{null >= observed}) / (R + 1)``: the observed arrangement is one of the
        possible ones, so p is never zero (Phipson & Smyth 2010).
    """
    values = np.asarray(null, dtype=np.float64)
    if values.ndim != 1 or values.size == 0:
        raise InputError(f"permutation_p: null must be (R >= 1,), got shape {values.shape}.")
    if not (np.isfinite(observed) and np.isfinite(values).all()):
        raise InputError("permutation_p: observed and null must be finite, got NaN or infinity.")
    return float((1 + (values >= observed).sum()) / (values.size + 1))


def bootstrap_interval(
    values: npt.ArrayLike,
    *,
    blocks: Sequence[object] | None = None,
    statistic: Callable[[npt.NDArray[np.float64]], float] | None = None,
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Percentile interval of the mean over samples, resampling whole blocks.

    Parameters
    ----------
    values : array_like, (N,)
        One score a sample.
    blocks : sequence, (N,), optional
        Samples of one block (run, story, subject) are drawn together. Default: each sample
        is its own block.
    statistic : callable, optional
        Default: the mean.
    resamples : int
    level : float
    seed : int
    """
    scores = np.asarray(values, dtype=np.float64)
    if scores.ndim != 1 or scores.size == 0 or not np.isfinite(scores).all():
        raise InputError(
            f"bootstrap_interval: values must be (N >= 1,) and finite, got shape {scores.shape}."
        )
    if blocks is None:
        groups = [np.array([i]) for i in range(scores.size)]
    else:
        if len(blocks) != scores.size:
            raise InputError(
                f"bootstrap_interval: blocks must name all {scores.size} samples, "
                f"got {len(blocks)}."
            )
        labels = np.unique(np.asarray([str(b) for b in blocks]), return_inverse=True)[1]
        groups = [np.flatnonzero(labels == k) for k in range(labels.max() + 1)]
    rng = np.random.default_rng(seed)
    if statistic is None:
        # means of resampled blocks need only their sums and sizes
        sums = np.array([scores[g].sum() for g in groups])
        sizes = np.array([g.size for g in groups])
        drawn = rng.integers(len(groups), size=(resamples, len(groups)))
        estimates = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    else:
        estimates = np.array(
            [
                statistic(scores[np.concatenate([groups[k] for k in draw])])
                for draw in rng.integers(len(groups), size=(resamples, len(groups)))
            ]
        )
    tail = 100 * (1 - level) / 2
    low, high = np.percentile(estimates, [tail, 100 - tail])
    return Interval(float(low), float(high), level)
