"""Noise ceilings: how well responses to a stimulus can be predicted or identified at all.

A response to one presentation holds what every presentation shares, and noise. No prediction from
the stimulus can follow the noise, so the correlation of even the true response with a measured one
is below 1. It is estimated from repeats of a stimulus within a person, or from people who saw the
same one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..._arguments import checked
from ...errors import InputError
from ...stats.correlations import column_correlations

Array = npt.NDArray[np.float64]
_LEAST = 0.1  # voxels with a lower ceiling have no response to compare with


@dataclass(frozen=True)
class CeilingComparison:
    """Correlations of a model beside their noise ceiling.

    Parameters
    ----------
    voxels : int
        Voxels with a ceiling of at least 0.1, over which the medians are taken.
    of : int
        All voxels.
    correlation : float or None
        Median correlation of the model's prediction.
    ceiling : float or None
        Median ceiling.
    share : float or None
        Median of correlation / ceiling; above 1 by chance alone.
    reason : str
        Why there are no medians; "" otherwise.
    """

    voxels: int
    of: int
    correlation: float | None
    ceiling: float | None
    share: float | None
    reason: str = ""


@checked(least={"averaged": 1, "splits": 1})
def split_half_ceiling(
    responses: npt.ArrayLike, *, averaged: int = 1, splits: int = 50, seed: int = 0
) -> Array:
    """Estimate the ceiling of every voxel from repeats of the same stimuli.

    The repeats are divided into halves at random; the correlation of their means over stimuli,
    averaged over `splits` divisions, is stepped to `averaged` repeats by the formula of Spearman
    and Brown. The square root of that reliability is the correlation of the true response with a
    mean of `averaged` repeats.

    Parameters
    ----------
    responses : array_like, (R, N, V)
        R ≥ 2 repeats of N ≥ 3 stimuli.
    averaged : int
        Repeats in the mean that a prediction is compared with; 1: single presentations.
    splits : int
    seed : int

    Returns
    -------
    ndarray, (V,) float64
        Ceiling, 0..1; 0 where repeats do not correlate.

    Raises
    ------
    InputError
        There are too few repeats or stimuli, or a value is not finite.
    """
    given = _checked(responses, "split_half_ceiling", "(R >= 2, N >= 3, V)")
    rng, half = np.random.default_rng(seed), len(given) // 2
    # two or three repeats have few divisions
    rounds = 1 if len(given) == 2 else splits
    total = np.zeros(given.shape[2])
    for _ in range(rounds):
        order = rng.permutation(len(given))
        one, other = (given[part].mean(axis=0) for part in (order[:half], order[half : 2 * half]))
        total += column_correlations(one, other)
    r = np.clip(total / rounds, 0.0, 1.0)
    factor = averaged / half
    reliability = factor * r / (1 + (factor - 1) * r)
    return np.asarray(np.sqrt(reliability))


@checked
def inter_subject_ceiling(responses: npt.ArrayLike) -> tuple[Array, Array]:
    """Estimate the ceiling of every voxel from people who saw the same stimuli.

    A person's response is correlated with the mean of the others (lower bound) and with the mean
    of all (upper bound: it holds the person's own noise), as in Nili et al. (2014). Voxels must
    correspond between people.

    Parameters
    ----------
    responses : array_like, (S, N, V)
        S ≥ 2 people, N ≥ 3 stimuli.

    Returns
    -------
    lower, upper : ndarray, (V,) float64
        Mean over people, 0..1.

    Raises
    ------
    InputError
        There are too few people or stimuli, or a value is not finite.
    """
    given = _checked(responses, "inter_subject_ceiling", "(S >= 2, N >= 3, V)")
    whole = given.sum(axis=0)
    n = len(given)
    lower = np.mean([column_correlations(x, (whole - x) / (n - 1)) for x in given], axis=0)
    upper = np.mean([column_correlations(x, whole / n) for x in given], axis=0)
    return np.clip(lower, 0.0, 1.0), np.clip(upper, 0.0, 1.0)


@checked
def beside_ceiling(correlation: npt.ArrayLike, ceiling: npt.ArrayLike) -> CeilingComparison:
    """Put the correlations of an encoding model beside their ceiling.

    Parameters
    ----------
    correlation, ceiling : array_like, (V,)

    Returns
    -------
    CeilingComparison

    Raises
    ------
    InputError
        The shapes differ, or a value is not finite.
    """
    given, top = (np.asarray(v, dtype=np.float64) for v in (correlation, ceiling))
    if given.ndim != 1 or given.shape != top.shape or not np.isfinite([given, top]).all():
        raise InputError(
            f"beside_ceiling: correlation and ceiling must be finite and of the same (V,), got "
            f"{given.shape} and {top.shape}."
        )
    kept = top >= _LEAST
    if not kept.any():
        reason = f"no voxel has a ceiling of {_LEAST:g} or more"
        return CeilingComparison(0, len(given), None, None, None, reason)
    return CeilingComparison(
        voxels=int(kept.sum()),
        of=len(given),
        correlation=float(np.median(given[kept])),
        ceiling=float(np.median(top[kept])),
        share=float(np.median(given[kept] / top[kept])),
    )


def _checked(responses: npt.ArrayLike, function: str, shape: str) -> Array:
    given = np.asarray(responses, dtype=np.float64)
    if given.ndim != 3 or len(given) < 2 or given.shape[1] < 3 or not np.isfinite(given).all():
        raise InputError(
            f"{function}: responses must be finite and {shape}, got {given.shape}. A ceiling needs "
            "stimuli that were presented several times."
        )
    return given
