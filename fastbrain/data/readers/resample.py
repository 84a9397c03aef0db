"""Resample a run to another voxel grid in the same space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import VolumeError
from .findings import Finding
from .masks import Mask, same_affine
from .volumes import Volumes

_OUTSIDE = 0.01  # largest share of the mask outside the field of view
_LEAST_WEIGHT = 0.5  # of the finite voxels around an interpolated one


@dataclass(frozen=True, eq=False)
class InMemory:
    """Voxels in memory, read like those of a file."""

    values: npt.NDArray[Any]

    def read(self) -> npt.NDArray[Any]:
        """Return the values, (T, Z, Y, X)."""
        return self.values


def resampling(volumes: Volumes, mask: Mask, affine: npt.NDArray[np.float64]) -> Finding | None:
    """Return a note if a run has to be resampled to the grid of a mask, else None."""
    z, y, x = mask.shape
    if volumes.shape[1:] == (z, y, x) and same_affine(volumes.affine, affine, (z, y, x)):
        return None
    sizes = " x ".join(f"{n:.3g}" for n in np.linalg.norm(volumes.affine[:3, :3], axis=0))
    return Finding("note", "grid", f"is resampled from {volumes.shape[1:]} voxels of {sizes} mm")


def on_grid(volumes: Volumes, mask: Mask, affine: npt.NDArray[np.float64]) -> Volumes:
    """Return a run on the grid of a mask: the run itself, or trilinearly interpolated.

    Parameters
    ----------
    volumes : Volumes
    mask : ndarray, (Z, Y, X) bool
    affine : ndarray, (4, 4) float64
        Voxel (x, y, z) of the mask to world mm.

    Returns
    -------
    Volumes
        With a note if it was interpolated, from finite voxels. Voxels outside the field of view
        and those with less than half their weight on finite voxels are NaN.

    Raises
    ------
    VolumeError
        The field of view leaves out more than 1 % of the mask.
    """
    note = resampling(volumes, mask, affine)
    if note is None:
        return volumes
    # target voxel (z, y, x) to source voxel (z, y, x)
    step = np.linalg.inv(volumes.affine) @ affine
    matrix, offset = step[:3, :3][::-1, ::-1], step[:3, 3][::-1]
    voxels = np.argwhere(mask)
    places = voxels @ matrix.T + offset
    last = np.array(volumes.shape[1:]) - 1
    outside = ((places < -0.5) | (places > last + 0.5)).any(axis=1)
    if outside.mean() > _OUTSIDE:
        raise VolumeError(
            f"on_grid: {volumes.path} must cover the brain mask of the model, got "
            f"{outside.mean():.0%} of it outside the field of view. Bring the scan into the space "
            "of training (fMRIPrep --output-spaces)."
        )
    values = np.stack(
        [_moved(volumes, t, matrix, offset, mask.shape) for t in range(volumes.shape[0])]
    )  # (T, Z, Y, X)
    values[(slice(None), *voxels[outside].T)] = np.nan
    return replace(
        volumes,
        shape=values.shape,
        affine=affine,
        slope=1.0,
        inter=0.0,
        dtype=np.dtype(np.float32),
        notes=(*volumes.notes, note),
        _file=InMemory(values),
    )


def _moved(
    volumes: Volumes,
    t: int,
    matrix: npt.NDArray[np.float64],
    offset: npt.NDArray[np.float64],
    shape: Sequence[int],
) -> npt.NDArray[np.float32]:
    from scipy.ndimage import affine_transform

    def moved(values: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        where = {"matrix": matrix, "offset": offset, "output_shape": tuple(shape)}
        return np.asarray(affine_transform(values, **where, order=1, mode="nearest"))

    volume = volumes.scaled(t, t + 1)[0]
    finite = np.isfinite(volume)
    if finite.all():
        return moved(volume)
    # scans may be NaN outside the brain, and NaN with weight zero would still give NaN
    weight = moved(finite.astype(np.float32))
    total = moved(np.where(finite, volume, np.float32(0)))
    inside = weight >= _LEAST_WEIGHT
    return np.divide(total, weight, out=np.full_like(total, np.nan), where=inside)
