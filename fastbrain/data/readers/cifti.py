"""CIFTI-2 series: grayordinates (``.dtseries.nii``) or parcels (``.ptseries.nii``) over time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from ...errors import FastbrainError, VolumeError
from .findings import Finding, refuse
from .locations import Locations, Structure, check_names
from .nifti import NiftiFile, file_errors, open_nifti
from .scaling import image_scaling
from .series import MAX_BYTES, Series, check_size, checked_tr

SUFFIXES = (".dtseries.nii", ".ptseries.nii")
_INTENTS = range(3000, 3100)  # 3000, unknown, is common; the axes decide
_SECONDS = {"SECOND": 1.0}


@dataclass(frozen=True, eq=False)
class _Matrix:
    """Values of a CIFTI file, mapped from disk."""

    image: NiftiFile
    shape: tuple[int, int]

    def read(self) -> npt.NDArray[Any]:
        offset, dtype = int(self.image.field("vox_offset")), self.image.known_dtype
        with file_errors(self.image.data):
            # the time course of a grayordinate is contiguous on disk
            found = np.memmap(self.image.data, dtype, "r", offset, self.shape[::-1])
        return found.T[:, None, None, :]


def load_cifti(path: str | Path, *, tr: float | None = None, max_bytes: int = MAX_BYTES) -> Series:
    """Open a CIFTI-2 series; only header and extension are read.

    Parameters
    ----------
    path : str or Path
        ``.dtseries.nii`` or ``.ptseries.nii``.
    tr : float, optional
        Repetition time in seconds, for files that do not state it.
    max_bytes : int
        Limit on the size of the values implied by the header.

    Returns
    -------
    Series

    Raises
    ------
    VolumeError
        The file is no such series, is truncated or damaged; the message states what it holds.
    """
    path = Path(path)
    suffix = next((s for s in SUFFIXES if path.name.endswith(s)), None)
    if suffix is None:
        raise VolumeError(f"load: {path} must end in {' or '.join(SUFFIXES)}.")
    image = open_nifti(path, axes=4)
    _check_header(path, image)
    count, width = image.stored_dims[4:6]
    check_size(path, (count, width), image.known_dtype.itemsize, max_bytes)
    _check_length(image, count * width)
    axes = _axes(path)
    step, findings = _series_step(path, axes[0], count)
    seconds, more = checked_tr(path, step, tr)
    locations = _locations(path, axes[1], suffix)
    if len(locations) != width:
        _refuse(path, "dim", f"must be {len(locations)} values a volume, got {width}")
    slope, inter, _ = image_scaling(image)
    return Series(
        path=path,
        shape=(count, 1, 1, width),
        affine=np.eye(4),
        tr=seconds,
        slope=slope,
        inter=inter,
        dtype=image.known_dtype,
        notes=tuple(findings + more),
        _file=_Matrix(image, (count, width)),
        locations=locations,
    )


def read_cifti(path: Path) -> tuple[tuple[Any, Any], npt.NDArray[np.float64]]:
    """Read the two axes of a CIFTI-2 file (nibabel axes), and its scaled values.

    Raises
    ------
    VolumeError
        The file has no valid CIFTI extension, another number of axes, or is damaged.
    """
    image = open_nifti(path, axes=4)
    _check_header(path, image)
    rows, columns = image.stored_dims[4:6]
    check_size(path, (rows, columns), image.known_dtype.itemsize, MAX_BYTES)
    _check_length(image, rows * columns)
    axes = _axes(path)
    if (len(axes[0]), len(axes[1])) != (rows, columns):
        _refuse(path, "dim", f"must be {len(axes[0])} x {len(axes[1])}, got {rows} x {columns}")
    slope, inter, _ = image_scaling(image)
    values = _Matrix(image, (rows, columns)).read()[:, 0, 0]
    return axes, slope * values.astype(np.float64) + inter


def _check_header(path: Path, image: NiftiFile) -> None:
    intent, dims = int(image.field("intent_code")), image.stored_dims
    if image.packed:
        _refuse(path, "file", "must not be compressed: gunzip it")
    if intent not in _INTENTS:
        _refuse(path, "intent_code", f"must be that of CIFTI-2, 3000 to 3099, got {intent}")
    if len(dims) != 6 or dims[:4] != (1, 1, 1, 1) or min(dims) < 1:
        _refuse(path, "dim", f"must be 1, 1, 1, 1, T, V, got {dims}")
    if image.dtype is None:
        _refuse(path, "datatype", f"must be a number, got code {image.field('datatype'):g}")


def _check_length(image: NiftiFile, values: int) -> None:
    offset = image.field("vox_offset")
    size = image.data.stat().st_size
    wanted = values * image.known_dtype.itemsize
    if not (np.isfinite(offset) and offset == int(offset) and 540 <= offset <= size - wanted):
        message = (
            f"promises {wanted} bytes of values from byte {offset:g} on, but the file has {size}. "
            "It is truncated; copy or download it again."
        )
        refuse(image.path, [Finding("error", "dim", message)])


@contextmanager
def parsing(path: Path, what: str) -> Iterator[None]:
    """Convert all errors of nibabel's parsers to a :class:`VolumeError` that names the file."""
    try:
        yield
    except FastbrainError:
        raise
    except Exception as error:
        # nibabel raises errors of many kinds for damaged XML
        raise VolumeError(
            f"load: {path} must be a valid {what} file, got '{type(error).__name__}: "
            f"{error!s:.200}'. Copy or write it again."
        ) from error


def _axes(path: Path) -> tuple[Any, Any]:
    from nibabel.cifti2.cifti2 import Cifti2Image

    with parsing(path, "CIFTI-2"):
        header = Cifti2Image.from_filename(str(path)).header
        if header.number_of_mapped_indices != 2:
            _refuse(path, "axes", f"must be two, got {header.number_of_mapped_indices}")
        return header.get_axis(0), header.get_axis(1)


def _series_step(path: Path, axis: Any, count: int) -> tuple[float | None, list[Finding]]:
    from nibabel.cifti2.cifti2_axes import SeriesAxis

    if not isinstance(axis, SeriesAxis):
        _refuse(
            path, "rows", f"must be a series of volumes, got {type(axis).__name__} (maps or labels)"
        )
    if len(axis) != count:
        _refuse(path, "series axis", f"must have {count} volumes, as dim says, got {len(axis)}")
    findings = []
    if axis.start != 0:
        said = f"{axis.start:g} is not used: give start_time in the runs table"
        findings.append(Finding("note", "series start", f"{said}."))
    if axis.unit not in _SECONDS:
        return None, findings
    # files state float32, precise to about a microsecond
    return round(float(axis.step) * _SECONDS[axis.unit], 6), findings


def _locations(path: Path, axis: Any, suffix: str) -> Locations:
    from nibabel.cifti2.cifti2_axes import BrainModelAxis, ParcelsAxis

    if suffix == ".ptseries.nii":
        if not isinstance(axis, ParcelsAxis):
            _refuse(path, "columns", f"must be parcels, got {type(axis).__name__}")
        return Locations(parcels=check_names(axis.name.tolist(), path=path))
    if not isinstance(axis, BrainModelAxis):
        _refuse(path, "columns", f"must be grayordinates, got {type(axis).__name__}")
    return Locations(structures=structures_of(path, axis))


def structures_of(path: Path, axis: Any) -> tuple[Structure, ...]:
    """Convert a nibabel ``BrainModelAxis`` to structures.

    Raises
    ------
    VolumeError
        A vertex lies outside its surface or is listed twice, or a voxel lies outside the volume.
    """
    found = []
    with parsing(path, "CIFTI-2"):
        on_surface, in_volume = axis.surface_mask, axis.volume_mask
        for name, part, model in axis.iter_structures():
            label = str(name).removeprefix("CIFTI_STRUCTURE_")
            if bool(on_surface[part].all()):
                vertices = np.asarray(model.vertex, dtype=np.int64)
                most = int(axis.nvertices[name])
                if vertices.min() < 0 or vertices.max() >= most or (np.diff(vertices) <= 0).any():
                    _refuse(path, label, f"must list vertices below {most}, ascending, got others")
                found.append(Structure(label, vertices, most))
            elif bool(in_volume[part].all()):
                voxels = np.asarray(model.voxel, dtype=np.int64)
                affine = np.asarray(axis.affine, dtype=np.float64)
                if not _each_once(voxels, tuple(int(n) for n in axis.volume_shape)):
                    _refuse(path, label, "must list voxels of its volume, each once, got others")
                if affine.shape != (4, 4) or not np.isfinite(affine).all():
                    _refuse(path, label, "must state the position of its voxels, got none")
                found.append(Structure(label, voxels=voxels, affine=affine))
            else:
                _refuse(path, label, "must be of vertices or of voxels, got both")
    names = [s.name for s in found]
    if not found or len(set(names)) < len(names):
        _refuse(path, "brain models", f"must name each structure once, got {names}")
    return tuple(found)


def _each_once(voxels: npt.NDArray[np.int64], size: tuple[int, ...]) -> bool:
    """Return whether voxels lie in a volume, each listed once."""
    if (voxels < 0).any() or (voxels >= size).any():
        return False
    return len(np.unique(np.ravel_multi_index(tuple(voxels.T), size))) == len(voxels)


def _refuse(path: Path, field: str, message: str) -> NoReturn:
    refuse(path, [Finding("error", field, f"{message}.")])
    raise AssertionError
