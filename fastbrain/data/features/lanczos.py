"""Resample word features to volumes with a Lanczos low-pass filter."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ..._arguments import checked
from ...errors import InputError

LOBES = 3


def lanczos_weights(
    at: npt.ArrayLike, times: npt.ArrayLike, *, lobes: int = LOBES
) -> npt.NDArray[np.float64]:
    """Compute the weight of each event in each volume: sinc(x) sinc(x / lobes), 0 from `lobes` on.

    Parameters
    ----------
    at : array_like, (T,)
        Times of the volumes.
    times : array_like, (M,)
        Times of the events. Both are in volumes, so that the cut-off is half the sampling rate.
    lobes : int

    Returns
    -------
    ndarray, (T, M) float64
    """
    x = np.asarray(at, dtype=np.float64)[:, None] - np.asarray(times, dtype=np.float64)
    return np.where(np.abs(x) < lobes, np.sinc(x) * np.sinc(x / lobes), 0.0)


@checked
def lanczos_downsample(
    features: npt.NDArray[Any],
    times: npt.ArrayLike,
    *,
    n_volumes: int,
    tr: float,
    lobes: int = LOBES,
) -> npt.NDArray[np.float64]:
    """Sum the features of words into volumes through a Lanczos filter (Huth et al. 2016).

    Parameters
    ----------
    features : ndarray, (M, D)
        Features of each word.
    times : array_like, (M,)
        Time of each word, in seconds after the start of the first volume.
    n_volumes : int
    tr : float
        Seconds between volumes; the time of a volume is its middle.
    lobes : int

    Returns
    -------
    ndarray, (n_volumes, D) float64

    Raises
    ------
    InputError
        Sizes disagree, or an option is out of range.
    """
    values, moments = np.asarray(features, dtype=np.float64), np.asarray(times, dtype=np.float64)
    sizes_fit = values.ndim == 2 and moments.shape == values.shape[:1]
    if not sizes_fit or not (n_volumes >= 1 and tr > 0 and lobes >= 1):
        raise InputError(
            "lanczos_downsample: features must be (M, D) with M times, n_volumes >= 1, tr > 0 and "
            f"lobes >= 1, got {values.shape}, {moments.shape}, {n_volumes}, {tr} and {lobes}."
        )
    result = np.empty((n_volumes, values.shape[1]))
    order = np.argsort(moments, kind="stable")
    values, place = values[order], moments[order] / tr
    # only words within `lobes` volumes have a weight: process volumes in blocks
    for first in range(0, n_volumes, 256):
        at = np.arange(first, min(first + 256, n_volumes)) + 0.5
        low, high = np.searchsorted(place, [at[0] - lobes, at[-1] + lobes])
        weights = lanczos_weights(at, place[low:high], lobes=lobes)
        result[first : first + len(at)] = weights @ values[low:high]
    return result
