"""Common voxel grid that runs are resampled to."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ...errors import InputError
from ..readers.findings import refuse
from ..readers.header_checks import check_storage
from ..readers.nifti import open_nifti
from ..readers.orientation import image_affine
from ..readers.resample import interpolates, resampling
from ..readers.volumes import Volumes
from .preparation import open_preparation
from .store import VoxelStore

Affine = npt.NDArray[np.float64]
Shape = tuple[int, int, int]
# corners of the MNI152 template of FSL, mm: 91 x 109 x 91 voxels at 2 mm
_MNI_LOW, _MNI_HIGH = (-90.0, -126.0, -72.0), (90.0, 90.0, 108.0)
_FINEST_MM, _COARSEST_MM = 0.5, 10.0
_MAX_BYTES = 1 << 40  # only headers are read


@dataclass(frozen=True, eq=False)
class TargetGrid:
    """A voxel grid in world coordinates.

    Parameters
    ----------
    name : str
        How it was asked for, for the manifest.
    shape : tuple of 3 int
        (Z, Y, X).
    affine : ndarray, (4, 4) float64
        Voxel (x, y, z) to world mm.
    """

    name: str
    shape: tuple[int, int, int]
    affine: npt.NDArray[np.float64]

    def name_for(self, headers: Iterable[Volumes]) -> str:
        """Return the name if voxels of a run have to be interpolated, else ""."""
        moved = any(interpolates(volumes, self.shape, self.affine) for volumes in headers)
        return self.name if moved else ""

    def headers(self, headers: Iterable[Volumes]) -> tuple[Volumes, ...]:
        """Return the headers of runs, with a note on those that will be resampled."""
        found = []
        for volumes in headers:
            note = resampling(volumes, self.shape, self.affine)
            kept = volumes if note is None else replace(volumes, notes=(*volumes.notes, note))
            found.append(kept)
        return tuple(found)


def grid_of_store(store: VoxelStore) -> TargetGrid:
    """Return the grid of a store."""
    return TargetGrid(f"store {store.fingerprint()}", store.grid.shape, store.affine)


def with_axes_of(shape: Shape, affine: Affine, like: Affine, *, name: str) -> TargetGrid:
    """Return a grid with its axes permuted and flipped so that they run as those of another one.

    Every voxel stays where it is, so that resampling to it changes no value.

    Parameters
    ----------
    shape : tuple of 3 int
        (Z, Y, X).
    affine : ndarray, (4, 4) float64
    like : ndarray, (4, 4) float64
        Affine of the other grid.
    name : str
    """
    from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation, ornt_transform

    change = ornt_transform(io_orientation(affine), io_orientation(like))
    turned = affine @ inv_ornt_aff(change, shape[::-1])
    x, y, z = apply_orientation(np.broadcast_to(False, shape[::-1]), change).shape
    return TargetGrid(name, (z, y, x), turned)


def target_grid(name: str | Path, headers: Sequence[Volumes]) -> TargetGrid:
    """Find the grid that is meant by ``--resample``.

    Parameters
    ----------
    name : str or Path
        ``"first"``: the grid of the first run. ``"mni:2"``: the box of the MNI152 template of FSL
        (-90..90, -126..90, -72..108 mm) in voxels of 2 mm; any size from 0.5 to 10 mm. Else a
        store, a run folder or a NIfTI image; of an image only the header is read.
    headers : sequence of Volumes
        Headers of the runs.

    Returns
    -------
    TargetGrid

    Raises
    ------
    InputError
        The voxel size is out of range, or there is no such file or folder.
    StoreError, CheckpointError
        The folder is not a store or a run.
    VolumeError
        The image cannot be read.
    """
    if name == "first":
        return TargetGrid("first", headers[0].shape[1:], headers[0].affine)
    if str(name).startswith("mni:"):
        return _mni(str(name))
    path = Path(name)
    if path.is_dir():
        return grid_of_store(open_preparation(path))
    if not path.is_file():
        raise InputError(
            f"plan_store: resample must be first, mni:2 (any size in mm), a store or an image, got "
            f"{str(name)!r}. Name one that exists."
        )
    return _of_image(path)


def _mni(name: str) -> TargetGrid:
    text = name.removeprefix("mni:")
    size = float(text) if re.fullmatch(r"\d+(\.\d+)?", text) else 0.0
    if not _FINEST_MM <= size <= _COARSEST_MM:
        raise InputError(
            f"plan_store: resample must be mni: and a voxel size of {_FINEST_MM:g} to "
            f"{_COARSEST_MM:g} mm, got {name!r}. Write for example mni:2."
        )
    x, y, z = (
        int((high - low) / size + 1e-9) + 1 for low, high in zip(_MNI_LOW, _MNI_HIGH, strict=True)
    )
    affine = np.diag([size, size, size, 1.0])
    affine[:3, 3] = _MNI_LOW
    return TargetGrid(name, (z, y, x), affine)


def _of_image(path: Path) -> TargetGrid:
    image = open_nifti(path, axes=4)
    dims = image.dims
    if len(dims) == 3:
        image = open_nifti(path, axes=3)
    refuse(image.path, check_storage(image, max_bytes=_MAX_BYTES))
    affine, _ = image_affine(image)
    x, y, z = dims[:3]
    return TargetGrid(path.name, (z, y, x), affine)
