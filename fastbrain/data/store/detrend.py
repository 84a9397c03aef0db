"""Remove slow drifts from the voxels of a run and convert them to the units of the store."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ...errors import InputError, StoreError, VolumeError
from ..readers.timing import TOLERANCE
from ..readers.volumes import Volumes

Units = Literal["psc", "zscore"]
# quantisation step of all stores; int16 then spans ±163 % signal change or ±32 std
STEP: dict[str, float] = {"psc": 0.005, "zscore": 0.001}
LIMIT = 32767
MAX_DEAD = 0.01
_CHUNK_BYTES = 8 << 20  # float32; a chunk and its copy fit into a large cache
_MIN_MEAN = 1e-3  # voxels with a mean below this share of the median voxel's are dead in psc
_MIN_STD = 1e-6  # voxels with a std below this share of their absolute mean are constant


@dataclass(frozen=True, eq=False)
class CleanRun:
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


def drift_basis(n_volumes: int, tr: float, high_pass_s: float | None) -> npt.NDArray[np.float32]:
    """Build an orthonormal basis of constant, line and cosines slower than the cut-off.

    The cosines are the discrete cosine transform basis of SPM and fMRIPrep, orders
    ``1 .. floor(2 · T · TR / high_pass_s)``.

    Parameters
    ----------
    n_volumes : int
    tr : float
        Seconds.
    high_pass_s : float or None
        Shortest period that is removed, seconds; None removes constant and line only.

    Returns
    -------
    ndarray, (T, K) float32

    Raises
    ------
    InputError
        The cut-off is not positive, or the run has too few volumes for the basis.
    """
    if high_pass_s is not None and not high_pass_s > 0:
        raise InputError(f"drift_basis: high_pass_s must be > 0 or None, got {high_pass_s}.")
    order = 0 if high_pass_s is None else math.floor(2 * n_volumes * tr / high_pass_s + TOLERANCE)
    if n_volumes < order + 4:
        remedy = "Use a longer high_pass_s." if order else "Leave the run out."
        raise InputError(
            f"drift_basis: a run must have at least {order + 4} volumes to remove {order} cosines "
            f"and a line, got {n_volumes}. {remedy}"
        )
    t = (np.arange(n_volumes) + 0.5) / n_volumes
    columns = [np.ones_like(t), t - 0.5, *(np.cos(np.pi * k * t) for k in range(1, order + 1))]
    basis, _ = np.linalg.qr(np.stack(columns, axis=1))
    return np.ascontiguousarray(basis, dtype=np.float32)


def clean_run(
    volumes: Volumes,
    voxels: npt.NDArray[np.int64],
    *,
    units: Units,
    high_pass_s: float | None,
) -> CleanRun:
    """Detrend the brain voxels of a run and express them in store units.

    ``psc``: 100 · residual / mean, percent. ``zscore``: residual / its standard deviation.
    Statistics are computed from this run only.

    Parameters
    ----------
    volumes : Volumes
    voxels : ndarray, (V,) int64
        Flat (Z, Y, X) indices of the brain voxels.
    units : str
    high_pass_s : float or None

    Returns
    -------
    CleanRun

    Raises
    ------
    VolumeError
        A brain voxel is NaN or infinite in some volumes but not in all; no voxel varies.
    StoreError
        More than 1 % of the brain voxels have no usable signal.
    """
    basis = drift_basis(volumes.shape[0], volumes.tr, high_pass_s)
    raw = volumes.raw().reshape(volumes.shape[0], -1)  # (T, Z·Y·X)
    first = raw[0, voxels].astype(np.float32)
    floor = _mean_floor(volumes, raw, voxels) if units == "psc" else 0.0
    values = np.empty((len(raw), voxels.size), dtype=np.int16)
    dead = np.zeros(voxels.size, dtype=bool)
    clipped = 0
    width = max(256, _CHUNK_BYTES // (4 * len(raw)))
    for begin in range(0, voxels.size, width):
        part = slice(begin, begin + width)
        x = np.take(raw, voxels[part], axis=1).astype(np.float32)  # (T, width)
        if raw.dtype.kind == "f":
            dead[part] = check_finite(x, volumes=volumes)
            x[:, dead[part]] = 0
        base = np.where(dead[part], 0, first[part])
        x -= base
        # deviations from the first volume are small, so that float32 is precise enough
        mean = volumes.slope * (base + x.mean(axis=0)) + volumes.inter
        x *= np.float32(volumes.slope)
        x -= basis @ (basis.T @ x)
        size = np.abs(mean)
        spread = x.std(axis=0)
        constant = spread <= _MIN_STD * np.maximum(size, _MIN_STD)
        gone = constant | (mean <= floor) if units == "psc" else constant
        dead[part] |= gone
        unit = mean / 100 if units == "psc" else spread
        with np.errstate(divide="ignore", invalid="ignore"):
            x *= np.where(dead[part], 0, 1 / (unit * STEP[units])).astype(np.float32)
        if raw.dtype.kind == "f" and not np.isfinite(x).all():
            raise VolumeError(
                f"clean_run: {volumes.path} must hold intensities that float32 can square, got "
                f"some near {np.abs(mean).max():.3g}. Rescale the image."
            )
        np.rint(x, out=x)
        clipped += int(np.count_nonzero(np.abs(x) > LIMIT))
        values[:, part] = np.clip(x, -LIMIT, LIMIT, out=x)
    _check_dead(volumes, dead, units)
    return CleanRun(values, clipped, int(dead.sum()))


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
    return max(0.0, _MIN_MEAN * (volumes.slope * typical + volumes.inter))


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
