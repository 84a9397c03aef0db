"""From seconds to volumes: the only place where times become whole numbers.

Quotients of decimal fractions are off by some 1e-16 of themselves (``0.3 / 0.1`` is below 3). A
quotient that is nearer than `TOLERANCE` volumes to a limit is taken to lie on it. That is far above
the error of the arithmetic for any recording and far below what any clock resolves.
"""

from __future__ import annotations

import math

from ...errors import InputError

TOLERANCE = 1e-6  # volumes


def nearest_volume(seconds: float, tr: float) -> int:
    """Number of the volume that begins nearest to a time; a tie goes to the later volume.

    Parameters
    ----------
    seconds : float
        Time after the first volume began; negative before it.
    tr : float
        Seconds between volumes.

    Raises
    ------
    InputError
        A time is not finite or `tr` is not positive.
    """
    return math.floor(_volumes("nearest_volume", seconds, tr) + 0.5 + TOLERANCE)


def volume_during(seconds: float, tr: float) -> int:
    """Number of the volume during which a time falls: the last one that has begun.

    Parameters and errors as :func:`nearest_volume`.
    """
    return math.floor(_volumes("volume_during", seconds, tr) + TOLERANCE)


def volumes_to_cover(seconds: float, tr: float) -> int:
    """How many volumes it takes to cover a duration.

    Parameters and errors as :func:`nearest_volume`.
    """
    return math.ceil(_volumes("volumes_to_cover", seconds, tr) - TOLERANCE)


def _volumes(function: str, seconds: float, tr: float) -> float:
    if tr > 0 and math.isfinite(quotient := seconds / tr):
        return quotient
    raise InputError(
        f"{function}: seconds must be finite and tr > 0 s, got {seconds} and {tr}. Check the times."
    )
