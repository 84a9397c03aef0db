"""Volumes that are censored because of head motion or sudden changes of the signal."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from ....errors import CohortError
from .strategy import Denoising

Array = npt.NDArray[np.float64]
Censored = npt.NDArray[np.bool_]


def censored_volumes(
    strategy: Denoising, path: Path, fd: Array | None, std_dvars: Array | None
) -> Censored:
    """Find the volumes above the thresholds of a strategy, and short stretches between them.

    Parameters
    ----------
    strategy : Denoising
        With one threshold or two.
    path : Path
        Confounds table, for messages.
    fd : ndarray, (T,) or None
        Framewise displacement, mm.
    std_dvars : ndarray, (T,) or None

    Returns
    -------
    ndarray, (T,) bool

    Raises
    ------
    CohortError
        The table has no column for a threshold.
    """
    found: list[Censored] = []
    for threshold, series, name in (
        (strategy.fd_threshold, fd, "framewise_displacement"),
        (strategy.std_dvars_threshold, std_dvars, "std_dvars"),
    ):
        if threshold is None:
            continue
        if series is None:
            raise CohortError(
                f"denoising: {path} must have the column {name} for the threshold "
                f"{threshold:g}, got none. Leave the threshold out, or run fMRIPrep again."
            )
        found.append(series > threshold)
    return without_short_stretches(np.logical_or.reduce(found), strategy.scrub)


def without_short_stretches(censored: Censored, least: int) -> Censored:
    """Censor also the stretches of fewer than `least` volumes before, between and after others.

    Nothing is added where no volume is censored.
    """
    if not censored.any() or least < 2:
        return censored
    marks = np.concatenate([[True], censored, [True]])
    edges = np.flatnonzero(np.diff(marks.astype(np.int8)))  # starts and ends of kept stretches
    found = censored.copy()
    for begin, end in edges.reshape(-1, 2):
        if end - begin < least:
            found[begin:end] = True
    return found


def touches(censored: Censored, start: int, frames: int) -> bool:
    """Return whether a window of `frames` volumes from `start` on holds a censored volume."""
    return bool(censored[start : start + frames].any())


def interpolation(censored: Censored) -> tuple[npt.NDArray[np.int64], ...]:
    """Return, for each censored volume, its index and those of the kept volumes beside it.

    Returns
    -------
    at, before, after : ndarray, (C,) int64
        A volume before the first kept one, or after the last, has that one on both sides.
    """
    kept, at = np.flatnonzero(~censored), np.flatnonzero(censored)
    place = np.searchsorted(kept, at)
    before = kept[np.maximum(place - 1, 0)]
    after = kept[np.minimum(place, len(kept) - 1)]
    before = np.where(place == 0, after, before)
    return at, before, after


def interpolate_(series: npt.NDArray[np.float32], censored: Censored) -> None:
    """Replace the censored volumes of (T, V) by linear interpolation in time, in place."""
    at, before, after = interpolation(censored)
    width = np.maximum(after - before, 1)
    share = ((at - before) / width * (after > before)).astype(np.float32)[:, None]
    series[at] = (1 - share) * series[before] + share * series[after]
