"""Medians of noisy times, ratios of them, and their intervals. Nothing here imports torch."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

# 80 % quantile of the normal distribution
_Z80 = 0.8416
# standard error of a median over that of a mean, for normal noise
_OF_MEDIAN = math.sqrt(math.pi / 2)


def ratio(
    slow: Iterable[float], fast: Iterable[float], *, draws: int = 2000, seed: int = 0
) -> tuple[float, float, float]:
    """Ratio of medians and its 95 % bootstrap interval over rounds.

    Parameters
    ----------
    slow, fast : iterable of float
        Seconds of the same rounds, in the same order.
    draws, seed : int

    Returns
    -------
    tuple of float
        Ratio, lower and upper end.
    """
    slow, fast = np.asarray(list(slow)), np.asarray(list(fast))
    pick = np.random.default_rng(seed).integers(0, len(slow), (draws, len(slow)))
    drawn = np.median(slow[pick], axis=1) / np.median(fast[pick], axis=1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(np.median(slow) / np.median(fast)), float(low), float(high)


def quantiles(seconds: Iterable[float], prefix: str = "ms") -> dict[str, float]:
    """Milliseconds at 20, 50 and 80 %, named ``ms_p20``, ``ms_p50`` and ``ms_p80``."""
    p20, p50, p80 = (float(q) * 1e3 for q in np.quantile(list(seconds), [0.2, 0.5, 0.8]))
    return {f"{prefix}_p20": p20, f"{prefix}_p50": p50, f"{prefix}_p80": p80}


def log_error(p20: float, p80: float, rounds: int) -> float:
    """Standard error of the logarithm of a median, from two quantiles and the number of rounds.

    Parameters
    ----------
    p20, p80 : float
        Times at 20 and 80 % of the rounds.
    rounds : int

    Returns
    -------
    float
        As if the logarithms of the times were normal: the quantiles are ``2 * 0.8416`` deviations
        apart, and a median has 1.25 times the standard error of a mean.
    """
    deviation = max(math.log(p80 / p20), 0.0) / (2 * _Z80)
    return _OF_MEDIAN * deviation / math.sqrt(max(rounds, 1))
