"""Items of the sources of a live session: volumes and unreadable volumes; and their clock."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from .._arguments import checked
from ..errors import InputError

_INTENSITIES, _FLOAT64 = (np.dtype(np.int16), np.dtype(np.float32)), np.dtype(np.float64)
MIN_DET = 1e-6  # mm³; a smaller voxel volume means a damaged affine


@checked(least={"index": 0})
@dataclass(frozen=True, eq=False)
class Volume:
    """One volume of a run that is being acquired.

    Parameters
    ----------
    index : int
        Number of the volume in its run, from 0, by the source's own header (never by arrival).
    data : ndarray, (Z, Y, X) int16 or float32
        Intensities as the scanner scales them, C-contiguous.
    affine : ndarray, (4, 4) float64
        Voxel (x, y, z) to world mm, RAS+.
    acquired_s : float or None
        Seconds since the first volume of the run, by the source's header; None if it states none.
    completed_s : float
        Reading of the clock when the volume was complete, seconds.
    tr_s : float or None
        Repetition time by the header, seconds; None if it states none.
    motion : ndarray, (6,) float64, optional
        Translation in mm and rotation in radians about x, y, z, if the source estimates it.

    Raises
    ------
    InputError
        A field breaks this contract.
    """

    index: int
    data: npt.NDArray[Any]
    affine: npt.NDArray[np.float64]
    acquired_s: float | None
    completed_s: float
    tr_s: float | None
    motion: npt.NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        data = self.data
        if data.ndim != 3 or not data.size or data.dtype not in _INTENSITIES:
            raise InputError(
                "Volume: data must be a (Z, Y, X) array of int16 or float32 with voxels, got "
                f"{data.dtype} {data.shape}. Convert it with astype."
            )
        if not data.flags.c_contiguous:
            raise InputError(
                "Volume: data must be C-contiguous, got other strides. Pass it through "
                "numpy.ascontiguousarray."
            )
        affine = self.affine
        sound = affine.shape == (4, 4) and affine.dtype == _FLOAT64
        if not sound or not MIN_DET < abs(_volume_of_voxel(affine)) < math.inf:
            raise InputError(
                "Volume: affine must be an invertible (4, 4) float64 array of finite values, got "
                f"{affine.dtype} {affine.shape}. Take it from the image's header."
            )
        if self.tr_s is not None and self.tr_s <= 0:
            raise InputError(
                f"Volume: tr_s must be above 0 s, got {self.tr_s}. Pass None if it is not known."
            )
        motion = self.motion
        if motion is not None and (motion.shape != (6,) or not np.isfinite(motion).all()):
            raise InputError(
                f"Volume: motion must be 6 finite values, got shape {motion.shape}. Pass None if "
                "the source does not estimate it."
            )


def _volume_of_voxel(affine: npt.NDArray[np.float64]) -> float:
    """Determinant of an affine, mm³; NaN where an entry is not finite."""
    # Python floats: numpy is slow where its code is out of the caches, as between volumes
    rows = affine.tolist()
    if not all(math.isfinite(value) for row in rows for value in row):
        return math.nan
    (a, b, c, _), (d, e, f, _), (g, h, i, _) = rows[:3]
    return a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)


@dataclass(frozen=True)
class BadVolume:
    """A volume that arrived and cannot be read.

    Parameters
    ----------
    index : int or None
        Number of the volume in its run, from 0; None if it cannot be known.
    reason : str
        One sentence; it holds no field about the patient and no file name.
    completed_s : float
        Reading of the clock when the volume was given up, seconds.
    """

    index: int | None
    reason: str
    completed_s: float


class Clock(Protocol):
    """Monotonic clock of a session, replaceable in tests."""

    def now(self) -> float:
        """Return the reading of the clock, seconds."""

    def sleep(self, seconds: float) -> None:
        """Wait."""


class MonotonicClock:
    """Clock of the machine that never goes back and ignores changes of the wall-clock time."""

    def now(self) -> float:
        """Return the reading of the clock, seconds."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait for some seconds."""
        time.sleep(seconds)


class Source(Protocol):
    """Where the volumes of a run come from.

    Iteration yields what is already there in acquisition order, then what arrives, and None at
    least every `poll_s` seconds while nothing arrives. It ends when the source knows that the run
    is over, or after :meth:`close`.
    """

    name: str
    tr_s: float | None

    def __iter__(self) -> Iterator[Volume | BadVolume | None]:
        """Yield volumes, unreadable volumes, and None while nothing arrives."""

    def close(self) -> None:
        """Free sockets and watchers; may be called twice, and from another thread."""
