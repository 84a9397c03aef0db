"""Bootstrap intervals, p-values and effect sizes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Real

import numpy as np
import numpy.typing as npt

from .._arguments import checked
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
        """Return ``[low, high]``, for JSON."""
        return [self.low, self.high]


@checked
def permutation_p(observed: float, null: npt.ArrayLike) -> float:
    """Exact one-sided p of a permutation test: share of null values at least as large.

    Parameters
    ----------
    observed : float
        Larger is better.
    null : array_like, (R,)
        The statistic under R permutations.

    Returns
    -------
    float
        ``(1 + #{null >= observed}) / (R + 1)``: the observed arrangement counts as one of the
        permutations, so p is never zero (Phipson & Smyth 2010).

    Raises
    ------
    InputError
        There is no null value, or a value is not finite.
    """
    values = np.asarray(null, dtype=np.float64)
    if values.ndim != 1 or values.size == 0:
        raise InputError(f"permutation_p: null must be (R >= 1,), got shape {values.shape}.")
    if not (np.isfinite(observed) and np.isfinite(values).all()):
        raise InputError("permutation_p: observed and null must be finite, got NaN or infinity.")
    return float((1 + (values >= observed).sum()) / (values.size + 1))


@checked(least={"flips": 1})
def sign_flip_p(differences: npt.ArrayLike, *, flips: int = 10_000, seed: int = 0) -> float:
    """One-sided p of a mean difference across subjects, by sign flips.

    Parameters
    ----------
    differences : array_like, (N,)
        One value per subject, score minus the subject's chance level; larger is better.
    flips : int
        Number of random flips; if there are at most as many sign patterns (2^N), all are used.
    seed : int

    Returns
    -------
    float
        Share of sign patterns with a mean of at least the observed one, including the observed
        pattern: never below 1 / 2^N for all patterns, or 1 / (flips + 1) for random flips.

    Raises
    ------
    InputError
        There is no value, or one is not finite.
    """
    values = np.asarray(differences, dtype=np.float64)
    if values.ndim != 1 or values.size == 0 or not np.isfinite(values).all():
        raise InputError(
            f"sign_flip_p: differences must be (N >= 1,) and finite, got shape {values.shape}."
        )
    # rounding must not separate patterns with equal exact sums
    slack = 1e-12 * np.abs(values).sum()
    if 2**values.size <= flips:
        patterns = np.arange(2**values.size)[:, None] >> np.arange(values.size) & 1
        sums = (1 - 2 * patterns) @ values
        return float((sums >= values.sum() - slack).mean())
    signs = np.random.default_rng(seed).integers(0, 2, (flips, values.size)) * 2 - 1
    return permutation_p(values.sum() - slack, signs @ values)


@checked
def block_flip_p(differences: npt.ArrayLike, blocks: Sequence[object], *, seed: int = 0) -> float:
    """One-sided p of a mean difference, by sign flips of whole blocks.

    Parameters
    ----------
    differences : array_like, (N,)
        Larger is better.
    blocks : sequence, (N,)
        Block of each sample; samples of a block are not independent, so they flip together.
    seed : int

    Raises
    ------
    InputError
        Sizes differ, there is no sample, or a difference is not finite.
    """
    values = np.asarray(differences, dtype=np.float64)
    if values.ndim != 1 or len(values) != len(blocks) or not len(values):
        raise InputError(
            "block_flip_p: differences and blocks must be (N >= 1,), got "
            f"{values.shape} and {len(blocks)}."
        )
    labels = np.unique([str(b) for b in blocks], return_inverse=True)[1]
    return sign_flip_p(np.bincount(labels, weights=values), seed=seed)


@checked
def adjusted_p(p: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Adjust the p-values of a family of tests by Benjamini-Hochberg, with scipy.

    Parameters
    ----------
    p : array_like, any shape
        For instance subjects × metrics; the whole array is one family.

    Returns
    -------
    ndarray
        False discovery rate at which each test would just be significant.

    Raises
    ------
    InputError
        A value is not in [0, 1].
    """
    values = np.asarray(p, dtype=np.float64)
    if values.size == 0 or not ((values >= 0) & (values <= 1)).all():
        raise InputError("adjusted_p: p must be in [0, 1] and at least one, got others or none.")
    from scipy.stats import false_discovery_control

    adjusted: npt.NDArray[np.float64] = false_discovery_control(values, axis=None)
    return adjusted.reshape(values.shape)


@checked
def effect_size(differences: npt.ArrayLike) -> float:
    """Mean over standard deviation of paired differences (Cohen's d_z).

    Parameters
    ----------
    differences : array_like, (N >= 2,)

    Raises
    ------
    InputError
        Fewer than two values, a value is not finite, or all are equal.
    """
    values = np.asarray(differences, dtype=np.float64)
    if values.ndim != 1 or values.size < 2 or not np.isfinite(values).all():
        raise InputError(
            f"effect_size: differences must be (N >= 2,) and finite, got shape {values.shape}."
        )
    spread = values.std(ddof=1)
    # of equal values, rounding may leave a spread; of tiny ones, none may be left
    if np.ptp(values) == 0 or spread == 0:
        raise InputError("effect_size: differences must vary, got equal ones: d is undefined.")
    return float(values.mean() / spread)


@checked(least={"resamples": 1})
def bootstrap_interval(
    values: npt.ArrayLike,
    *,
    blocks: Sequence[object] | None = None,
    statistic: Callable[[npt.NDArray[np.float64]], float] | None = None,
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval | None:
    """Percentile interval of the mean over samples, resampling whole blocks.

    Parameters
    ----------
    values : array_like, (N,)
        One score per sample.
    blocks : sequence, (N,), optional
        Samples of one block (run, story, subject) are drawn together. Default: each sample
        is its own block.
    statistic : callable, optional
        Default: the mean.
    resamples : int
    level : float
        In (0, 1).
    seed : int

    Returns
    -------
    Interval or None
        None for a single block: its resamples are all equal.

    Raises
    ------
    InputError
        Values are not finite, sizes differ, `level` is out of range, or `statistic` does not
        return a finite number.
    """
    if not 0 < level < 1:
        raise InputError(f"bootstrap_interval: level must be in (0, 1), got {level}.")
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
    if len(groups) < 2:
        return None
    rng = np.random.default_rng(seed)
    if statistic is None:
        # means of resampled blocks need only block sums and sizes
        sums = np.array([scores[g].sum() for g in groups])
        sizes = np.array([g.size for g in groups])
        drawn = rng.integers(len(groups), size=(resamples, len(groups)))
        estimates = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    else:
        found = [
            statistic(scores[np.concatenate([groups[k] for k in draw])])
            for draw in rng.integers(len(groups), size=(resamples, len(groups)))
        ]
        wrong = [v for v in found if not isinstance(v, Real) or not math.isfinite(v)]
        if wrong:
            raise InputError(
                "bootstrap_interval: statistic must give a finite number for every resample, got "
                f"{wrong[0]!r} for one."
            )
        estimates = np.array(found, dtype=np.float64)
    tail = 100 * (1 - level) / 2
    low, high = np.percentile(estimates, [tail, 100 - tail])
    return Interval(float(low), float(high), level)
