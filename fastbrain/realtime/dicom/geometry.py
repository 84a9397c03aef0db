"""Voxel to world: affines from the position and orientation of slices.

DICOM coordinates grow to left, posterior and superior (PS3.3 C.7.6.2.1.1); ours to right, anterior
and superior.

Numbers of one volume are Python floats: calls of numpy between other work find their code out of
the caches, and then take a third of the time to read a file.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from ...errors import VolumeError

Array = npt.NDArray[np.float64]

_LPS_TO_RAS = (-1.0, -1.0, 1.0)
_UNIT = 1e-3  # cosines are written with six digits
# gap between neighbouring slices may differ from the mean by this share: positions are rounded
_UNEVEN = 0.02


def directions(orientation: Array) -> tuple[Array, Array]:
    """Split an image orientation into unit vectors along a row and along a column.

    Parameters
    ----------
    orientation : ndarray, (6,) float64
    """
    values = orientation.tolist()
    row, column = values[:3], values[3:]
    right = abs(sum(a * b for a, b in zip(row, column, strict=True))) < _UNIT
    if not right or max(abs(math.hypot(*one) - 1) for one in (row, column)) > _UNIT:
        raise VolumeError(
            "ImageOrientationPatient (0020,0037) must be two unit vectors at right angles. Export "
            "the series again."
        )
    return orientation[:3], orientation[3:]


def normal(orientation: Array) -> Array:
    """Return the unit vector along which slices lie, (3,)."""
    (a, b, c), (d, e, f) = (one.tolist() for one in directions(orientation))
    return np.array([b * f - c * e, c * d - a * f, a * e - b * d])


def stack_affine(first: Array, step: Array, orientation: Array, spacing: Array) -> Array:
    """Compute the affine of a stack of slices.

    Parameters
    ----------
    first : ndarray, (3,) float64
        Position of the first voxel of the first slice, mm in DICOM coordinates.
    step : ndarray, (3,) float64
        From one slice to the next, mm.
    orientation : ndarray, (6,) float64
    spacing : ndarray, (2,) float64
        Between rows and between columns, mm.

    Returns
    -------
    ndarray, (4, 4) float64
        Voxel (x, y, z) to world mm, RAS+.
    """
    row, column = (one.tolist() for one in directions(orientation))
    between_rows, between_columns = spacing.tolist()
    height = math.hypot(*step.tolist())
    if not min(between_rows, between_columns, height) > 0:
        raise VolumeError(
            "voxel sizes must be above 0 mm, got "
            f"{between_columns:g}, {between_rows:g}, {height:g}. Export the series again."
        )
    columns = zip(row, column, step.tolist(), first.tolist(), _LPS_TO_RAS, strict=True)
    rows = [
        (x * between_columns * sign, y * between_rows * sign, z * sign, at * sign)
        for x, y, z, at, sign in columns
    ]
    return np.array([*rows, (0.0, 0.0, 0.0, 1.0)])


def slice_step(positions: Array, orientation: Array, thickness: float | None) -> Array:
    """Compute the step between slices from their positions in order; they must be even.

    Parameters
    ----------
    positions : ndarray, (Z, 3) float64
        Positions of the first voxels, mm in DICOM coordinates.
    orientation : ndarray, (6,) float64
    thickness : float or None
        Thickness of a slice, mm; used for a stack of one.

    Returns
    -------
    ndarray, (3,) float64
    """
    count = len(positions)
    if count == 1:
        if thickness is None:
            raise VolumeError("SliceThickness (0018,0050) must be there for a single slice.")
        return normal(orientation) * thickness
    step = (positions[-1] - positions[0]) / (count - 1)
    even = positions[0] + np.arange(count)[:, None] * step
    off = float(np.abs(positions - even).max())
    if off > _UNEVEN * float(np.linalg.norm(step)):
        raise VolumeError(
            f"slices must be evenly spaced, got one that is {off:.3g} mm off. A slice is missing "
            "or belongs to another stack."
        )
    return step
