"""Convert stored values to intensities and labels by slope and intercept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import VolumeError
from .findings import Finding
from .nifti import NiftiFile

# slope and intercept are float32, so that labels of some thousands can be off by this much
_WHOLE = 1e-3
# writers that map labels to stored integers shift each by up to half a step; with steps below this,
# the nearest whole number is still the label
_COARSEST_STEP = 0.5
_LARGEST_LABEL = 2**53  # float64 represents whole numbers exactly up to here


def image_scaling(image: NiftiFile) -> tuple[float, float, list[Finding]]:
    """Read slope and intercept of an image, as nibabel and the NIfTI reference do.

    A slope that is 0 or not finite means that values are stored unscaled (NaN was written by
    fMRIPrep 20.2.1 to 20.2.3); the intercept is then ignored.

    Returns
    -------
    slope, inter : float
        Intensity = slope · stored + inter.
    list of Finding
        A note on ignored fields, or an error if the slope is valid and the intercept not finite.
    """
    slope, inter = image.field("scl_slope"), image.field("scl_inter")
    if not np.isfinite(slope):
        note = f"{slope} means that values are stored unscaled."
        return 1.0, 0.0, [Finding("note", "scl_slope", note)]
    if slope == 0:
        ignored = f"0 means that values are stored unscaled; scl_inter {inter:g} is not used."
        return 1.0, 0.0, [Finding("note", "scl_slope", ignored)] if inter != 0 else []
    if not np.isfinite(inter):
        message = f"must be finite beside a slope of {slope:g}, got {inter}. Correct the header."
        return slope, inter, [Finding("error", "scl_inter", message)]
    return slope, inter, []


def scale_values(
    stored: npt.NDArray[Any], slope: float, inter: float, dtype: type[np.floating]
) -> npt.NDArray[Any]:
    """Compute intensities slope · stored + inter as a new array (...) of `dtype`."""
    values = stored.astype(dtype)
    if slope != 1:
        values *= dtype(slope)
    if inter != 0:
        values += dtype(inter)
    return values


def scale_labels(
    stored: npt.NDArray[Any], slope: float, inter: float, *, path: Path, what: str
) -> npt.NDArray[np.int64]:
    """Convert stored values to whole-number labels.

    Parameters
    ----------
    stored : ndarray, (...)
    slope, inter : float
    path : Path
        The image, for messages.
    what : str
        Name of the kind of image, for messages.

    Returns
    -------
    ndarray, (...) int64

    Raises
    ------
    VolumeError
        A value is not finite, not whole (within 0.001, plus half a step for scaled integers with a
        slope below 0.5), or beyond 2**53.
    """
    integer = stored.dtype.kind in "iu"
    if integer and slope == 1 and inter == 0 and stored.dtype.itemsize < 8:
        return stored.astype(np.int64)
    # products beyond float64 become infinite and raise below
    with np.errstate(over="ignore", invalid="ignore"):
        values = scale_values(stored, slope, inter, np.float64)
    if not np.isfinite(values).all():
        raise VolumeError(f"read_{what}: {path} must be finite, got NaN or infinity.")
    whole = np.rint(values)
    step = abs(slope) if integer and slope != 1 else 0.0
    tolerance = _WHOLE + (step / 2 if step < _COARSEST_STEP else 0.0)
    off = np.abs(values - whole)
    if off.max(initial=0) > tolerance:
        raise VolumeError(
            f"read_{what}: {path} must hold whole numbers within {tolerance:.3g}, got "
            f"{values.flat[int(off.argmax())]:.6g}. Threshold a map of probabilities; resample "
            "labels with nearest neighbours and save them as integers without scaling."
        )
    if np.abs(whole).max(initial=0) > _LARGEST_LABEL:
        raise VolumeError(
            f"read_{what}: {path} must hold numbers up to 2**53, got {np.abs(whole).max():.6g}."
        )
    return whole.astype(np.int64)
