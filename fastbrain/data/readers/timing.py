"""Convert seconds to volume numbers; all other modules use these functions for rounding.

Quotients of decimal fractions have a relative error of about 1e-16 (``0.3 / 0.1`` is below 3). A
quotient that is nearer than `TOLERANCE` volumes to a limit is taken to lie on it. This is far above
the rounding error for any recording and far below the resolution of any clock.
"""

from __future__ import annotations

import math

from ...errors import InputError

TOLERANCE = 1e-6  # volumes
TR_TOLERANCE_S = 1e-3  # between repetition times that count as the same
# for a file that states another one than was given
CORRECT_TR = (
    "If it was given as --tr (tr=), leave that out; else correct the file, or the sidecar or runs "
    "table that states the other."
)


def nearest_volume(seconds: float, tr: float) -> int:
    """Return the number of the volume that begins nearest to a time; of two equal, the later one.

    Parameters
    ----------
    seconds : float
        Time after the start of the first volume; negative before it.
    tr : float
        Seconds between volumes.

    Raises
    ------
    InputError
        A time is not finite or `tr` is not positive.
    """
    return math.floor(_volumes("nearest_volume", seconds, tr) + 0.5 + TOLERANCE)


def volume_during(seconds: float, tr: float) -> int:
    """Return the number of the volume that contains a time: the last one that has begun.

    Parameters and errors as :func:`nearest_volume`.
    """
    return math.floor(_volumes("volume_during", seconds, tr) + TOLERANCE)


def volumes_to_cover(seconds: float, tr: float) -> int:
    """Return the number of volumes that cover a duration.

    Parameters and errors as :func:`nearest_volume`.
    """
    return math.ceil(_volumes("volumes_to_cover", seconds, tr) - TOLERANCE)


def _volumes(function: str, seconds: float, tr: float) -> float:
    if tr > 0 and math.isfinite(quotient := seconds / tr):
        return quotient
    raise InputError(
        f"{function}: seconds must be finite and tr > 0 s, got {seconds} and {tr}. Check the times."
    )
