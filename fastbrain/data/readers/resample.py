"""Brain voxels of a run on another voxel grid in the same space, smoothed if asked.

A run is read volume by volume, and only brain voxels are kept: the memory is that of the brain
voxels in float32. A volume is smoothed on its own grid, before it is
interpolated, so that a coarser grid is sampled without aliasing. Intensities are interpolated
linearly between the eight voxels around a place, masks take their nearest voxel.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..._arrays import brain_of
from ...errors import VolumeError
from .findings import Finding
from .masks import Mask, compute_mask, open_labels, same_affine
from .smooth import smooth_volume
from .volumes import Volumes

Affine = npt.NDArray[np.float64]
Shape = tuple[int, int, int]
_OUTSIDE = 0.01  # largest share of the brain voxels outside the field of view
_LEAST_WEIGHT = 0.5  # of the finite voxels around an interpolated one
_ROUNDING = 1e-4  # voxels; affines of headers are float32


@dataclass(frozen=True, eq=False)
class InMemory:
    """Voxels in memory, read like those of a file."""

    values: npt.NDArray[Any]

    def read(self) -> npt.NDArray[Any]:
        """Return the values, (T, Z, Y, X)."""
        return self.values


def resampling(volumes: Volumes, shape: Shape, affine: Affine) -> Finding | None:
    """Return a note if a run has to be resampled to a grid, else None."""
    if volumes.shape[1:] == shape and same_affine(volumes.affine, affine, shape):
        return None
    sizes = " x ".join(f"{n:.3g}" for n in np.linalg.norm(volumes.affine[:3, :3], axis=0))
    how = "linear interpolation" if interpolates(volumes, shape, affine) else "voxels as they are"
    return Finding(
        "note", "grid", f"is resampled from {volumes.shape[1:]} voxels of {sizes} mm ({how})"
    )


def interpolates(volumes: Volumes, shape: Shape, affine: Affine) -> bool:
    """Return whether a grid has voxels between those of a run.

    A grid with the axes of the run flipped, permuted or cropped by whole voxels has not.
    """
    if volumes.shape[1:] == shape and same_affine(volumes.affine, affine, shape):
        return False
    step = _step(volumes, affine)
    return bool((step != np.rint(step)).any())


def check_coverage(
    volumes: Volumes, voxels: npt.NDArray[np.int64], shape: Shape, affine: Affine
) -> None:
    """Raise if the field of view of a run leaves out more than 1 % of the brain voxels.

    Parameters
    ----------
    volumes : Volumes
    voxels : ndarray, (V,) int64
        Flat (Z, Y, X) indices of the brain voxels on the grid.
    shape : tuple of 3 int
        (Z, Y, X) of the grid.
    affine : ndarray, (4, 4) float64
        Voxel (x, y, z) of the grid to world mm.

    Raises
    ------
    VolumeError
    """
    outside = _outside(_places(volumes, voxels, shape, affine), volumes).mean()
    if outside > _OUTSIDE:
        raise VolumeError(
            f"check_coverage: {volumes.path} must cover the brain mask, got {outside:.0%} of it "
            "outside the field of view. Bring the scan into the space of the grid (fMRIPrep "
            "--output-spaces), or give a mask of what all runs cover."
        )


def at_voxels(
    volumes: Volumes,
    voxels: npt.NDArray[np.int64],
    shape: Shape,
    affine: Affine,
    *,
    smoothing_mm: float | None = None,
) -> tuple[Volumes, npt.NDArray[np.int64]]:
    """Smooth a run and interpolate it at brain voxels of a grid.

    Parameters
    ----------
    volumes : Volumes
    voxels : ndarray, (V,) int64
        Flat (Z, Y, X) indices of the brain voxels on the grid.
    shape : tuple of 3 int
        (Z, Y, X) of the grid.
    affine : ndarray, (4, 4) float64
        Voxel (x, y, z) of the grid to world mm.
    smoothing_mm : float, optional
        Full width at half maximum of a Gaussian, mm.

    Returns
    -------
    volumes : Volumes
        The run itself if there is nothing to do, else one of V voxels, (T, 1, 1, V) float32, with
        a note if it was interpolated. Interpolated are finite voxels; voxels outside the field of
        view, and those with less than half their weight on finite voxels, are NaN.
    voxels : ndarray, (V,) int64
        Flat indices of the brain voxels in these volumes.

    Raises
    ------
    VolumeError
        The field of view leaves out more than 1 % of the brain voxels.
    """
    note = resampling(volumes, shape, affine)
    if note is None and smoothing_mm is None:
        return volumes, voxels
    interpolation = None
    if note is not None:
        check_coverage(volumes, voxels, shape, affine)
        interpolation = _Interpolation(volumes, _places(volumes, voxels, shape, affine))
    values = np.empty((volumes.shape[0], 1, 1, voxels.size), dtype=np.float32)
    for t, volume in enumerate(volumes.scaled_one_by_one()):
        if smoothing_mm is not None:
            volume = smooth_volume(volume, volumes.affine, smoothing_mm)
        values[t, 0, 0] = interpolation(volume) if interpolation else volume.reshape(-1)[voxels]
    found = replace(
        volumes,
        shape=values.shape,
        affine=affine,
        slope=1.0,
        inter=0.0,
        dtype=values.dtype,
        notes=volumes.notes if note is None else (*volumes.notes, note),
        _file=InMemory(values),
    )
    return found, np.arange(voxels.size)


class _Interpolation:
    """Linear interpolation of volumes at fixed places, as a sparse matrix of weights.

    Parameters
    ----------
    volumes : Volumes
    places : ndarray, (V, 3) float64
        Places (z, y, x) in voxels; up to half a voxel outside they take the value of the border.
    """

    def __init__(self, volumes: Volumes, places: npt.NDArray[np.float64]) -> None:
        from scipy.sparse import csr_array

        size = np.array(volumes.shape[1:])
        self._outside = _outside(places, volumes)
        inside = places.clip(0, size - 1)
        first = np.minimum(inside.astype(np.int64), np.maximum(size - 2, 0))
        part = inside - first
        columns, weights = [], []
        for corner in np.ndindex(2, 2, 2):
            at = np.minimum(first + corner, size - 1)
            columns.append((at[:, 0] * size[1] + at[:, 1]) * size[2] + at[:, 2])
            weights.append(np.where(corner, part, 1 - part).prod(axis=1))
        rows = np.arange(0, 8 * len(places) + 1, 8)
        self._weights = csr_array(
            (
                np.stack(weights, axis=1).astype(np.float32).reshape(-1),
                np.stack(columns, axis=1).reshape(-1),
                rows,
            ),
            shape=(len(places), int(size.prod())),
        )

    def __call__(self, volume: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        flat = volume.reshape(-1)
        finite = np.isfinite(flat)
        if finite.all():
            found = np.asarray(self._weights @ flat)
        else:
            # NaN with weight zero would still give NaN
            weight = np.asarray(self._weights @ finite.astype(np.float32))
            total = np.asarray(self._weights @ np.where(finite, flat, np.float32(0)))
            known = weight >= _LEAST_WEIGHT
            found = np.divide(total, weight, out=np.full_like(total, np.nan), where=known)
        found[self._outside] = np.nan
        return found


def mask_on_grid(path: str | Path, shape: Shape, affine: Affine) -> Mask:
    """Read a 3-D mask, and bring it onto a grid: each voxel takes that of the nearest of the mask.

    Parameters
    ----------
    path : str or Path
        3-D NIfTI image of whole numbers, in the space of the grid.
    shape : tuple of 3 int
        (Z, Y, X) of the grid.
    affine : ndarray, (4, 4) float64
        Voxel (x, y, z) of the grid to world mm.

    Returns
    -------
    ndarray, (Z, Y, X) bool
        False outside the field of view of the mask.

    Raises
    ------
    VolumeError
        The mask holds fractions or negative values, cannot be read, or none of it is on the grid.
    """
    labels, own = open_labels(path, what="mask")
    mask = brain_of(labels, where=f"mask_on_grid: {path}", error=VolumeError)
    return _nearest(mask, own, shape, affine, path=Path(path))


def computed_mask_on_grid(volumes: Volumes, shape: Shape, affine: Affine) -> Mask:
    """Compute the mask of a run on its own grid, and bring it onto another one."""
    return _nearest(compute_mask(volumes), volumes.affine, shape, affine, path=volumes.path)


def _nearest(mask: Mask, own: Affine, shape: Shape, affine: Affine, *, path: Path) -> Mask:
    from scipy.ndimage import affine_transform

    if mask.shape == shape and same_affine(own, affine, shape):
        found = mask
    else:
        step = np.linalg.inv(own) @ affine
        found = (
            affine_transform(
                mask.astype(np.uint8),
                step[:3, :3][::-1, ::-1],
                step[:3, 3][::-1],
                output_shape=shape,
                order=0,
                mode="grid-constant",
            )
            > 0
        )
    if not found.any():
        raise VolumeError(
            f"mask_on_grid: {path} must show a brain on the grid, got none. Is it in the space of "
            "the grid?"
        )
    return np.asarray(found)


def _places(
    volumes: Volumes, voxels: npt.NDArray[np.int64], shape: Shape, affine: Affine
) -> npt.NDArray[np.float64]:
    """Return the places (V, 3) (z, y, x) in a run of voxels of a grid."""
    step = _step(volumes, affine)
    matrix, offset = step[:3, :3][::-1, ::-1], step[:3, 3][::-1]
    return np.asarray(np.stack(np.unravel_index(voxels, shape), axis=1) @ matrix.T + offset)


def _step(volumes: Volumes, affine: Affine) -> Affine:
    """Return the affine from voxels of a grid to those of a run, of whole numbers if it is near."""
    step = np.linalg.inv(volumes.affine) @ affine
    whole = np.rint(step)
    return np.asarray(whole if np.abs(step - whole).max() < _ROUNDING else step)


def _outside(places: npt.NDArray[np.float64], volumes: Volumes) -> npt.NDArray[np.bool_]:
    last = np.array(volumes.shape[1:]) - 1
    return np.asarray(((places < -0.5) | (places > last + 0.5)).any(axis=1))
