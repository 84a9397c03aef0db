"""Affine of an image (voxels to mm) from sform, qform or voxel sizes."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .findings import Finding
from .nifti import NiftiFile

Affine = npt.NDArray[np.float64]

MIN_DET = 1e-6  # mm³; a smaller voxel volume means a damaged affine
_FORM_TOLERANCE_MM = 0.1
# below this value of a² the NIfTI reference (quatern_to_mat44) treats a quaternion as a half turn
_HALF_TURN = 1e-7
# b² + c² + d² may exceed 1 by this: ten times the float32 rounding error of a unit quaternion
_ROUNDING = 1e-5


def image_affine(image: NiftiFile) -> tuple[Affine, list[Finding]]:
    """Determine the affine of an image: sform, else qform, else voxel sizes only.

    A form is used if its code is above 0. A damaged form is replaced by the other, with a note; if
    the other is damaged or absent too, the image is rejected.

    Returns
    -------
    ndarray, (4, 4) float64
        Voxel (x, y, z) to world mm; NaN if a finding is an error.
    list of Finding
    """
    header = image.header
    forms: dict[str, tuple[Affine | None, str]] = {}
    if int(header["sform_code"]) > 0:
        forms["sform"] = _sform(header)
    if int(header["qform_code"]) > 0:
        forms["qform"] = _qform(header)
    if not forms:
        return _voxel_sizes(header)
    sound = {name: affine for name, (affine, _) in forms.items() if affine is not None}
    if not sound:
        return np.full((4, 4), np.nan), [
            Finding("error", name, f"{why}. Correct the header from the scanner's images.")
            for name, (_, why) in forms.items()
        ]
    used = next(iter(sound))
    notes = [
        Finding("note", name, why if name in sound else f"{why}; {used} is used.")
        for name, (_, why) in forms.items()
        if why
    ]
    if len(sound) == 2:
        notes += _compare(sound["sform"], sound["qform"], image.dims[:3])
    return sound[used], notes


def affine_distance(one: Affine, other: Affine, shape: tuple[int, ...]) -> float:
    """Compute the largest difference of two affines over the voxels of a volume.

    Parameters
    ----------
    one, other : ndarray, (4, 4)
    shape : tuple of 3 int
        (X, Y, Z).

    Returns
    -------
    float
        Largest difference along a world axis, mm.
    """
    x, y, z = (n - 1 for n in shape)
    # a difference of affines is largest at a corner
    corners = np.array([[i, j, k, 1] for i in (0, x) for j in (0, y) for k in (0, z)])
    with np.errstate(all="ignore"):
        return float(np.abs(corners @ (one - other).T).max())


def _compare(sform: Affine, qform: Affine, shape: tuple[int, ...]) -> list[Finding]:
    off = affine_distance(sform, qform, shape)
    if off <= _FORM_TOLERANCE_MM:
        return []
    return [Finding("note", "qform", f"differs from sform by {off:.3g} mm; sform is used.")]


def _voxel_sizes(header: Any) -> tuple[Affine, list[Finding]]:
    """Build the affine from voxel sizes (method 1 of NIfTI), without origin and rotation."""
    sizes = np.array(header["pixdim"][1:4], dtype=np.float64)
    if not _positive(sizes):
        return np.full((4, 4), np.nan), [
            Finding(
                "error",
                "affine",
                f"must come from sform, qform or voxel sizes, got no form and {_sizes(sizes)}. "
                "Correct the header from the scanner's images.",
            )
        ]
    return np.diag([*sizes, 1.0]), [
        Finding("note", "sform_code", "and qform_code name no space; only voxel sizes are known.")
    ]


def _sform(header: Any) -> tuple[Affine | None, str]:
    affine = np.eye(4)
    for row, name in enumerate(("srow_x", "srow_y", "srow_z")):
        affine[row] = header[name]
    return _sound(affine)


def _qform(header: Any) -> tuple[Affine | None, str]:
    """Build the affine, or None with the error; a remark if the quaternion was normalised."""
    pixdim = np.array(header["pixdim"][:4], dtype=np.float64)
    handedness, sizes = pixdim[0], pixdim[1:]
    if not _positive(sizes):
        return None, f"must have voxel sizes, got {_sizes(sizes)}"
    if handedness not in (-1, 0, 1):
        return None, f"must have a handedness pixdim[0] of -1 or 1, got {handedness:g}"
    vector = np.array([float(header[f"quatern_{n}"]) for n in "bcd"])
    with np.errstate(all="ignore"):
        square = float(vector @ vector)
    if not square <= 1 + _ROUNDING:
        return None, f"must have a quaternion of length 1, got b² + c² + d² = {square:.6g}"
    remark = ""
    real = 1 - square
    if real < _HALF_TURN:
        vector /= np.sqrt(square)
        if real < 0:
            remark = f"has b² + c² + d² = 1 + {-real:.1e} by rounding and is normalised."
        real = 0.0
    affine = np.eye(4)
    # by the standard, a handedness of 0 means 1
    affine[:3, :3] = _rotation(np.sqrt(real), *vector) * (
        sizes * [1, 1, -1 if handedness < 0 else 1]
    )
    affine[:3, 3] = [float(header[f"qoffset_{n}"]) for n in "xyz"]
    sound, why = _sound(affine)
    return sound, why or remark


def _rotation(a: float, b: float, c: float, d: float) -> npt.NDArray[np.float64]:
    return np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )


def _sound(affine: Affine) -> tuple[Affine | None, str]:
    with np.errstate(all="ignore"):
        det = float(np.linalg.det(affine[:3, :3])) if np.isfinite(affine).all() else np.nan
    if np.isfinite(det) and abs(det) > MIN_DET:
        return affine, ""
    return None, f"must be a finite affine with |det| > {MIN_DET} mm³, got det {det:.3g}"


def _positive(sizes: npt.NDArray[np.float64]) -> bool:
    return bool((np.isfinite(sizes) & (sizes > 0)).all())


def _sizes(sizes: npt.NDArray[np.float64]) -> str:
    return "pixdim " + ", ".join(f"{size:g}" for size in sizes)
