"""GIFTI files: time courses of a pair of surfaces (``hemi-L``, ``hemi-R``), and meshes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from ...errors import VolumeError
from .cifti import parsing
from .findings import Finding, refuse
from .locations import Locations, Structure
from .series import MAX_BYTES, Series, check_size, checked_tr

SUFFIXES = (".func.gii",)
HEMISPHERES = {"L": "CORTEX_LEFT", "R": "CORTEX_RIGHT"}
_HEMI = re.compile(r"(?<![A-Za-z0-9])hemi-([LR])(?![A-Za-z0-9])")
_FLOAT = np.dtype(np.float32)


def pair_of(path: str | Path) -> tuple[Path, Path]:
    """Return the files of the left and the right hemisphere of a GIFTI series.

    Parameters
    ----------
    path : str or Path
        Either of them, with ``hemi-L`` or ``hemi-R`` in its name.

    Raises
    ------
    VolumeError
        The name has no hemisphere, or the other file is missing.
    """
    path = Path(path)
    if not _HEMI.search(path.name):
        raise VolumeError(
            f"load: {path} must have hemi-L or hemi-R in its name, got neither. Rename the pair, "
            "as BIDS does."
        )
    left, right = (path.with_name(_HEMI.sub(f"hemi-{side}", path.name)) for side in "LR")
    for file in (left, right):
        if not file.is_file():
            raise VolumeError(f"load: {path} must have {file.name} beside it, got no such file.")
    return left, right


@dataclass(frozen=True, eq=False)
class _Pair:
    """Time courses of both hemispheres."""

    left: Path
    right: Path
    max_bytes: int

    def read(self) -> npt.NDArray[Any]:
        both = [_values(path, self.max_bytes)[0] for path in (self.left, self.right)]
        return np.concatenate(both, axis=1)[:, None, None, :]


def load_gifti(path: str | Path, *, tr: float | None = None, max_bytes: int = MAX_BYTES) -> Series:
    """Open the time courses of both hemispheres.

    The files are read once to check them, as GIFTI has no header, and again for their values.
    Vertices that are constant or not finite in every volume count as medial wall
    (:attr:`Series.valid`).

    Parameters
    ----------
    path : str or Path
        File of either hemisphere; the other has ``hemi-R`` for ``hemi-L`` in its name.
    tr : float, optional
        Repetition time in seconds, for files that do not state it (``TimeStep``).
    max_bytes : int
        Limit on the size of the values.

    Returns
    -------
    Series
        Left and right hemisphere, all vertices.

    Raises
    ------
    VolumeError
        A file is missing or damaged, holds no series, or the hemispheres differ in length or time
        step.
    """
    files = pair_of(path)
    shapes, steps, alive, structures = [], [], [], []
    for file, side in zip(files, "LR", strict=True):
        values, step, named = _values(file, max_bytes)
        if named not in ("", HEMISPHERES[side]):
            _refuse(file, "AnatomicalStructurePrimary", f"must be {HEMISPHERES[side]}, got {named}")
        shapes.append(values.shape)
        steps.append(step)
        alive.append(~(values == values[:1]).all(axis=0) & np.isfinite(values).any(axis=0))
        count = values.shape[1]
        structures.append(Structure(HEMISPHERES[side], np.arange(count), count))
        del values
    if shapes[0][0] != shapes[1][0] or steps[0] != steps[1]:
        raise VolumeError(
            f"load: {files[0]} and {files[1].name} must have as many volumes at one time step, got "
            f"{shapes[0][0]} and {shapes[1][0]}, {steps[0]} and {steps[1]} s."
        )
    seconds, findings = checked_tr(files[0], steps[0], tr)
    valid = np.concatenate(alive)
    if not valid.any():
        raise VolumeError(f"load: {files[0]} must have a vertex that varies, got none.")
    width = len(valid)
    return Series(
        path=Path(path),
        shape=(shapes[0][0], 1, 1, width),
        affine=np.eye(4),
        tr=seconds,
        slope=1.0,
        inter=0.0,
        dtype=_FLOAT,
        notes=tuple(findings),
        _file=_Pair(*files, max_bytes),
        locations=Locations(structures=tuple(structures)),
        valid=valid,
    )


def _values(path: Path, max_bytes: int) -> tuple[npt.NDArray[np.float32], float | None, str]:
    """Read the values (T, V) of a file, its time step in seconds and its structure."""
    image = _open(path, max_bytes)
    with parsing(path, "GIFTI"):
        arrays = [np.asarray(array.data) for array in image.darrays]
        meta: dict[str, Any] = dict(image.meta)
        for array in image.darrays:
            meta = {**dict(array.meta), **meta}
    if not arrays or any(a.dtype.kind not in "iuf" for a in arrays):
        _refuse(path, "data", "must hold an array of numbers for each volume, got none")
    if len(arrays) == 1 and arrays[0].ndim == 2:
        values = arrays[0].T  # (V, T) in one array
    else:
        sizes = {a.shape for a in arrays}
        if len(sizes) > 1 or arrays[0].ndim != 1:
            _refuse(path, "data", f"must be one number a vertex in each array, got {sizes}")
        values = np.stack(arrays)
    kinds = {int(array.intent) for array in image.darrays}
    # pointset, triangle, label: a mesh or an annotation, not a recording
    if kinds & {1008, 1009, 1002}:
        _refuse(path, "intent", "must be a time series, got a mesh or labels")
    check_size(path, values.shape, 4, max_bytes)
    step = _number(meta.get("TimeStep"))
    # the format has milliseconds
    seconds = None if step is None else round(step / 1000, 6)
    return np.ascontiguousarray(values, dtype=np.float32), seconds, _structure(meta)


def _structure(meta: dict[str, Any]) -> str:
    """Return the stated structure in the spelling of CIFTI (``CORTEX_LEFT``), "" without one."""
    name = str(meta.get("AnatomicalStructurePrimary", ""))
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).upper()


def structure_of(path: str | Path, *, max_bytes: int = 1 << 30) -> str:
    """Return the structure that a GIFTI file states, ``CORTEX_LEFT``; "" if it states none.

    Raises
    ------
    VolumeError
        The file is missing or damaged.
    """
    image = _open(Path(path), max_bytes)
    with parsing(Path(path), "GIFTI"):
        meta: dict[str, Any] = dict(image.meta)
        for array in image.darrays:
            meta = {**dict(array.meta), **meta}
    return _structure(meta)


def read_mesh(
    path: str | Path, *, max_bytes: int = 1 << 30
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Read a surface: coordinates (n, 3) in mm and triangles (m, 3).

    Raises
    ------
    VolumeError
        The file is damaged, holds no surface, or a triangle names a vertex that does not exist.
    """
    path = Path(path)
    image = _open(path, max_bytes)
    with parsing(path, "GIFTI"):
        points, faces = (
            [np.asarray(a.data) for a in image.get_arrays_from_intent(kind)]
            for kind in ("NIFTI_INTENT_POINTSET", "NIFTI_INTENT_TRIANGLE")
        )
    if len(points) != 1 or len(faces) != 1:
        _refuse(path, "data", "must hold one set of points and of triangles (*.surf.gii)")
    xyz, triangles = points[0].astype(np.float64), faces[0].astype(np.int64)
    fits = xyz.ndim == 2 and xyz.shape[1:] == (3,) and triangles.shape[1:] == (3,)
    if not fits or not len(triangles) or not np.isfinite(xyz).all():
        _refuse(path, "data", f"must be finite points and triangles, got {xyz.shape}")
    if triangles.min() < 0 or triangles.max() >= len(xyz):
        _refuse(path, "triangles", f"must name vertices below {len(xyz)}, got others")
    return xyz, triangles


def _open(path: Path, max_bytes: int) -> Any:
    from nibabel.gifti.gifti import GiftiImage

    if not path.is_file():
        raise VolumeError(f"load: {path} must be a file that exists.")
    if path.stat().st_size > max_bytes:
        raise VolumeError(f"load: {path} must have at most {max_bytes} bytes.")
    with parsing(path, "GIFTI"):
        return GiftiImage.from_filename(str(path))


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if np.isfinite(number) and number > 0 else None


def _refuse(path: Path, field: str, message: str) -> NoReturn:
    refuse(path, [Finding("error", field, f"{message}.")])
    raise AssertionError
