"""Gaussian smoothing of single volumes."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from ..._arguments import checked
from ...errors import InputError

_FWHM_PER_SIGMA = math.sqrt(8 * math.log(2))
LARGEST_MM = 40.0


@checked
def check_smoothing(smoothing_mm: float | None) -> float | None:
    """Return the width of a smoothing kernel, or None; raise unless it is 0 < width <= 40 mm."""
    if smoothing_mm is None or 0 < smoothing_mm <= LARGEST_MM:
        return None if smoothing_mm is None else float(smoothing_mm)
    raise InputError(
        f"smoothing: smoothing_mm must be above 0 and at most {LARGEST_MM:g} mm, or None, got "
        f"{smoothing_mm}. It is the full width at half maximum, in mm."
    )


@checked
def smooth_volume(
    volume: npt.NDArray[np.floating], affine: npt.NDArray[np.floating], smoothing_mm: float
) -> npt.NDArray[np.float32]:
    """Smooth a volume with a Gaussian along its three axes.

    The kernel, its truncation at four standard deviations and the reflected borders are those of
    nilearn's ``smooth_img``. Voxels that are not finite are left out instead of counted as zero:
    weights are divided by their sum over the finite voxels.

    Parameters
    ----------
    volume : ndarray, (Z, Y, X) floating
    affine : ndarray, (4, 4)
        Voxel (x, y, z) to world mm; its columns give the voxel sizes.
    smoothing_mm : float
        Full width at half maximum, mm.

    Returns
    -------
    ndarray, (Z, Y, X) float32
        NaN where `volume` is not finite.

    Raises
    ------
    InputError
        The volume is not 3-D, the affine not (4, 4), or the width out of range.
    """
    if volume.ndim != 3 or affine.shape != (4, 4):
        raise InputError(
            f"smooth_volume: volume must be (Z, Y, X) and affine (4, 4), got {volume.shape} and "
            f"{affine.shape}."
        )
    check_smoothing(smoothing_mm)
    finite = np.isfinite(volume)
    if finite.all():
        return _filtered(volume.astype(np.float32), affine, smoothing_mm)
    total = _filtered(np.where(finite, volume, 0).astype(np.float32), affine, smoothing_mm)
    weight = _filtered(finite.astype(np.float32), affine, smoothing_mm)
    return np.divide(total, weight, out=np.full_like(total, np.nan), where=finite)


def _filtered(
    volume: npt.NDArray[np.float32], affine: npt.NDArray[np.floating], smoothing_mm: float
) -> npt.NDArray[np.float32]:
    """Filter a volume in place."""
    from scipy.ndimage import gaussian_filter1d

    sizes = np.linalg.norm(affine[:3, :3], axis=0)[::-1]  # z, y, x
    for axis, size in enumerate(sizes):
        gaussian_filter1d(volume, smoothing_mm / (_FWHM_PER_SIGMA * size), axis=axis, output=volume)
    return volume
