"""Exact test and exact interval of a share of independent answers."""

from __future__ import annotations

from .._arguments import checked
from ..errors import InputError
from .inference import Interval


@checked(least={"successes": 0, "trials": 1})
def binomial_p(successes: int, trials: int) -> float:
    """Compute the exact two-sided p of a share of 1/2.

    Parameters
    ----------
    successes, trials : int
        Answers of one kind, and all answers. They must be independent of each other.

    Returns
    -------
    float
        Probability, for fair coins, of a count at least as far from the half as this one.

    Raises
    ------
    InputError
        There are more successes than trials.
    """
    _check("binomial_p", successes, trials)
    from scipy.stats import binom

    fewer = min(successes, trials - successes)
    return float(min(1.0, 2 * binom.cdf(fewer, trials, 0.5)))


@checked(least={"successes": 0, "trials": 1})
def binomial_interval(successes: int, trials: int, *, level: float = 0.95) -> Interval:
    """Compute the exact interval of a share (Clopper & Pearson 1934).

    Parameters
    ----------
    successes, trials : int
        As in :func:`binomial_p`.
    level : float
        In (0, 1). The coverage is at least this for every true share.

    Raises
    ------
    InputError
        There are more successes than trials, or `level` is out of range.
    """
    _check("binomial_interval", successes, trials)
    if not 0 < level < 1:
        raise InputError(f"binomial_interval: level must be in (0, 1), got {level}.")
    from scipy.stats import beta

    tail, others = (1 - level) / 2, trials - successes
    low = 0.0 if successes == 0 else float(beta.ppf(tail, successes, others + 1))
    high = 1.0 if others == 0 else float(beta.ppf(1 - tail, successes + 1, others))
    return Interval(low, high, level)


def _check(function: str, successes: int, trials: int) -> None:
    if successes > trials:
        raise InputError(
            f"{function}: successes must be at most {trials}, the number of trials, got "
            f"{successes}."
        )
