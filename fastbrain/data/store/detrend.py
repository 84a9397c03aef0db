"""Remove drifts and confounds from the voxels of a run and convert them to store units."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ...errors import StoreError, VolumeError
from ..readers.volumes import Volumes
from .denoising.censoring import interpolate_
from .denoising.projection import Projection, projection_of
from .denoising.strategy import Censor

Units = Literal["psc", "zscore"]
# quantisation step of all stores; int16 then spans ±163 % signal change or ±32 std
STEP: dict[str, float] = {"psc": 0.005, "zscore": 0.001}
LIMIT = 32767
MAX_DEAD = 0.01
_CHUNK_BYTES = 8 << 20  # float32; a chunk and its copy fit into a large cache
MIN_MEAN = 1e-3  # voxels with a mean below this share of the median voxel's are dead in psc
MIN_STD = 1e-6  # voxels with a std below this share of their absolute mean are constant


@dataclass(frozen=True, eq=False)
class StoredRun:
    """Brain voxels of a run in store units.

    Parameters
    ----------
    values : ndarray, (T, V) int16
        Stored steps; dead voxels are 0.
    clipped : int
        Number of values that were clipped to the range of int16.
    dead : int
        Number of voxels without a usable signal in this run.
    """

    values: npt.NDArray[np.int16]
    clipped: int
    dead: int


@dataclass(frozen=True, eq=False)
class CleanRun(StoredRun):
    """A cleaned run, and what was measured on the way.

    Parameters
    ----------
    never_finite : int
        Number of dead voxels without any finite value.
    tsnr : ndarray, (V,) float32
        Mean divided by the standard deviation of the residual; 0 for dead voxels.
    changes : ndarray, (T,) float64
        Mean square over voxels of the change from the volume before, in intensities; 0 for the
        first volume.
    brightness : ndarray, (T,) float64
        Mean intensity of every volume.
    projection : Projection
        What was removed.
    """

    never_finite: int
    tsnr: npt.NDArray[np.float32]
    changes: npt.NDArray[np.float64]
    brightness: npt.NDArray[np.float64]
    projection: Projection


def clean_run(
    volumes: Volumes,
    voxels: npt.NDArray[np.int64],
    *,
    units: Units,
    high_pass_s: float | None,
    confounds: npt.NDArray[np.float64] | None = None,
    censored: npt.NDArray[np.bool_] | None = None,
    censor: Censor = "interpolate",
) -> CleanRun:
    """Remove drifts and confounds from the brain voxels of a run; express them in store units.

    ``psc``: 100 · residual / mean, percent. ``zscore``: residual / its standard deviation.
    Statistics are computed from this run only, without its censored volumes.

    Parameters
    ----------
    volumes : Volumes
    voxels : ndarray, (V,) int64
        Flat (Z, Y, X) indices of the brain voxels.
    units : str
    high_pass_s : float or None
    confounds : ndarray, (T, K) float64, optional
        Removed in one projection with the drifts.
    censored : ndarray, (T,) bool, optional
        Volumes that enter neither the fit nor the statistics.
    censor : {"drop", "interpolate", "keep"}
        Whether censored volumes keep their residuals, or are interpolated in time. Those that are
        to be dropped are interpolated as well: runs are also read as a whole.

    Returns
    -------
    CleanRun

    Raises
    ------
    InputError
        The confounds are too many for the run; see :func:`projection_of`.
    VolumeError
        A brain voxel is NaN or infinite in some volumes but not in all; no voxel varies.
    StoreError
        More than 1 % of the brain voxels have no usable signal.
    """
    n = volumes.shape[0]
    projection = projection_of(n, volumes.tr, high_pass_s, confounds, censored)
    absent = np.zeros(n, dtype=bool) if censored is None else censored
    kept: Any = np.flatnonzero(~absent) if absent.any() else slice(None)
    raw = volumes.raw().reshape(n, -1)  # (T, Z·Y·X)
    first = raw[int(np.argmin(absent)), voxels].astype(np.float32)
    floor = _mean_floor(volumes, raw, voxels) if units == "psc" else 0.0
    values = np.empty((n, voxels.size), dtype=np.int16)
    dead, never = np.zeros(voxels.size, dtype=bool), 0
    tsnr = np.zeros(voxels.size, dtype=np.float32)
    changes, brightness = np.zeros(n), np.zeros(n)
    clipped = 0
    width = max(256, _CHUNK_BYTES // (4 * n))
    for begin in range(0, voxels.size, width):
        part = slice(begin, begin + width)
        x = np.take(raw, voxels[part], axis=1).astype(np.float32)  # (T, width)
        if raw.dtype.kind == "f":
            dead[part] = check_finite(x, volumes=volumes)
            never += int(dead[part].sum())
            x[:, dead[part]] = 0
        base = np.where(dead[part], 0, first[part])
        x -= base
        # deviations from the first volume are small, so that float32 is precise enough
        mean = volumes.slope * (base + x[kept].mean(axis=0)) + volumes.inter
        x *= np.float32(volumes.slope)
        change = np.diff(x, axis=0)
        changes[1:] += np.einsum("tv,tv->t", change, change)
        brightness += x.sum(axis=1) + (volumes.slope * base + volumes.inter).sum(dtype=np.float64)
        x -= projection.basis @ (projection.fit.T @ x)
        size = np.abs(mean)
        spread = x[kept].std(axis=0)
        if absent.any() and censor != "keep":
            interpolate_(x, absent)
        constant = spread <= MIN_STD * np.maximum(size, MIN_STD)
        gone = constant | (mean <= floor) if units == "psc" else constant
        dead[part] |= gone
        unit = mean / 100 if units == "psc" else spread
        with np.errstate(divide="ignore", invalid="ignore"):
            x *= np.where(dead[part], 0, 1 / (unit * STEP[units])).astype(np.float32)
            tsnr[part] = np.where(dead[part], 0, mean / spread)
        if raw.dtype.kind == "f" and not np.isfinite(x).all():
            raise VolumeError(
                f"clean_run: {volumes.path} must hold intensities that float32 can square, got "
                f"some near {np.abs(mean).max():.3g}. Rescale the image."
            )
        np.rint(x, out=x)
        clipped += int(np.count_nonzero(np.abs(x) > LIMIT))
        values[:, part] = np.clip(x, -LIMIT, LIMIT, out=x)
    _check_dead(volumes, dead, units)
    return CleanRun(
        values=values,
        clipped=clipped,
        dead=int(dead.sum()),
        never_finite=never,
        tsnr=tsnr,
        changes=changes / voxels.size,
        brightness=brightness / voxels.size,
        projection=projection,
    )


def check_finite(data: npt.NDArray[np.floating], *, volumes: Volumes) -> npt.NDArray[np.bool_]:
    """Find voxels that are never finite; raise for voxels that are finite in some volumes only.

    A voxel without a finite value lies outside the scanned volume and can be left out. A few bad
    values corrupt the whole time course of a voxel; they are not repaired here.

    Parameters
    ----------
    data : ndarray, (T, V) floating
    volumes : Volumes
        Source of the data, for the message.

    Returns
    -------
    ndarray, (V,) bool
        Voxels without any finite value.

    Raises
    ------
    VolumeError
        A voxel is finite in some volumes only; the message names the first bad volume.
    """
    bad = ~np.isfinite(data)
    never = bad.all(axis=0)
    partly = bad & ~never
    if partly.any():
        t = int(np.flatnonzero(partly.any(axis=1))[0])
        raise VolumeError(
            f"check_finite: {volumes.path} must be finite inside the mask, got NaN or infinity in "
            f"{int(partly.any(axis=0).sum())} voxels, first in volume {t}. Repair the run or "
            "leave these voxels out of the mask."
        )
    return np.asarray(never)


def _mean_floor(
    volumes: Volumes, raw: npt.NDArray[np.generic], voxels: npt.NDArray[np.int64]
) -> float:
    """Return the mean intensity below which a voxel has no signal for a percentage."""
    # a few volumes are enough to estimate the order of magnitude
    some: npt.NDArray[Any] = raw[:: max(1, len(raw) // 8), :][:, voxels]
    if some.dtype.kind == "f":
        some = some.astype(np.float64)
        typical = float(np.nanmedian(np.where(np.isfinite(some), some, np.nan)))
    else:
        typical = float(np.median(some))
    return max(0.0, MIN_MEAN * (volumes.slope * typical + volumes.inter))


def _check_dead(volumes: Volumes, dead: npt.NDArray[np.bool_], units: Units) -> None:
    if dead.all():
        raise VolumeError(
            f"clean_run: {volumes.path} must have a voxel that varies, got none in the mask."
        )
    if dead.mean() > MAX_DEAD:
        hint = ", or units='zscore' if the run was demeaned" if units == "psc" else ""
        raise StoreError(
            f"clean_run: {volumes.path} must have a signal in 99 % of the mask, got "
            f"{int(dead.sum())} of {dead.size} voxels that are constant, never finite or have "
            f"mean <= 0. Give a tighter mask{hint}; a scan to decode must be in the space of "
            "training."
        )
