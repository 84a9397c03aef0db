"""Time courses of parcels: tables, and means of volumes or grayordinates in an atlas."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..._arrays import read_npy
from ..._io import sha256
from ...errors import CohortError, InputError, VolumeError, some
from .cifti import parsing, read_cifti, structures_of
from .findings import Finding
from .locations import Locations, Structure, check_names, column_order
from .masks import read_label_names, read_labels, read_mask
from .parcellation import Parcellation
from .series import MAX_BYTES, Series, Values, check_size, checked_tr
from .tables import MISSING, read_tsv
from .volumes import Volumes

TABLES = (".tsv", ".npy")
LABELS = (".nii", ".nii.gz", ".dlabel.nii")
_XYZ = ("x", "y", "z")


def load_parcel_table(
    path: str | Path,
    *,
    tr: float | None = None,
    parcels: str | Path | None = None,
    max_bytes: int = MAX_BYTES,
) -> Series:
    """Read a table of parcels over time, (T, R).

    Parameters
    ----------
    path : str or Path
        ``.tsv`` with the names of the parcels in its header, or ``.npy``.
    tr : float
        Repetition time, seconds: tables do not state it.
    parcels : str or Path, optional
        Table with the columns ``index`` and ``name``, and with ``x``, ``y``, ``z`` (mm) where
        positions are known. Required for ``.npy``: it names the columns in their order.
    max_bytes : int

    Returns
    -------
    Series

    Raises
    ------
    VolumeError
        The table cannot be read, its names are not unique, or `tr` is missing.
    CohortError
        `parcels` lacks a parcel of the table, or has another number than a ``.npy``.
    """
    path = Path(path)
    if path.name.endswith(".npy"):
        values = read_npy(path, where="load", error=VolumeError)
        if values.ndim != 2 or values.dtype.kind not in "iuf":
            raise VolumeError(
                f"load: {path} must be (T, parcels) numbers, got {values.dtype} of shape "
                f"{values.shape}."
            )
        if parcels is None:
            raise CohortError(
                f"load: {path} has no names of its parcels. Give a table with the columns index "
                "and name (--parcels TABLE.tsv), so that they are not mixed up."
            )
        known = read_label_names(parcels)
        if list(known) != sorted(known):
            raise CohortError(
                f"load: {parcels} must have its rows in the order of the columns of {path}, got an "
                "index that does not ascend. Sort the rows as the columns are."
            )
        names = tuple(known.values())
        if len(names) != values.shape[1]:
            raise CohortError(
                f"load: {parcels} must name the {values.shape[1]} parcels of {path}, got "
                f"{len(names)}."
            )
        values = values.astype(np.float32, copy=False)
    else:
        columns, rows = read_tsv(path)
        names = check_names(columns, path=path)
        values = np.array([_numbers(row, columns) for row in rows], dtype=np.float32)
        values = values.reshape(len(rows), len(columns))
    check_size(path, values.shape, 4, max_bytes)
    seconds, findings = checked_tr(path, None, tr)
    centers = None if parcels is None else positions_of(Path(parcels), names)
    return Series(
        path=path,
        shape=(len(values), 1, 1, len(names)),
        affine=np.eye(4),
        tr=seconds,
        slope=1.0,
        inter=0.0,
        dtype=values.dtype,
        notes=tuple(findings),
        _file=Values(values[:, None, None, :]),
        locations=Locations(parcels=names, centers_mm=centers),
    )


def _numbers(row: Any, columns: list[str]) -> list[float]:
    try:
        return [float("nan") if row[name] in MISSING else float(row[name]) for name in columns]
    except ValueError as error:
        raise VolumeError(f"load: {row.where} must hold numbers alone, got '{error}'.") from error


def positions_of(path: Path, names: tuple[str, ...]) -> npt.NDArray[np.float64] | None:
    """Read the positions (R, 3) of parcels from a table, mm; None if it has none."""
    columns, rows = read_tsv(path)
    known = [row.get("name", "") for row in rows]
    order = column_order(known, names, path=path)
    if not set(_XYZ) <= set(columns):
        return None
    return np.array([_numbers(rows[i], list(_XYZ)) for i in order], dtype=np.float64)


def parcels_of(volumes: Volumes, atlas: str | Path, *, mask: str | Path | None = None) -> Series:
    """Average the voxels or grayordinates of a run in the parcels of an atlas.

    Parameters
    ----------
    volumes : Volumes
        A run of volumes, or a series of grayordinates.
    atlas : str or Path
        For volumes a 3-D label image on their grid, with a table ``index``, ``name`` of the same
        name (``atlas.nii.gz``, ``atlas.tsv``) if parcels are to have names; for grayordinates a
        ``.dlabel.nii``. The order of the parcels is that of their labels.
    mask : str or Path, optional
        Brain mask of volumes; voxels outside are in no parcel.

    Returns
    -------
    Series
        Means are computed when the values are read.

    Raises
    ------
    VolumeError
        The atlas cannot be read, or lies on another grid.
    InputError
        A parcel has no voxel.
    """
    path = Path(atlas)
    if isinstance(volumes, Series):
        regions = _of_grayordinates(volumes, path)
    elif path.name.endswith((".nii", ".nii.gz")) and not path.name.endswith(".dlabel.nii"):
        place: dict[str, Any] = {"shape": volumes.shape[1:], "affine": volumes.affine}
        regions = Parcellation.from_labels(
            read_labels(path, **place),
            names=names_beside(path),
            mask=None if mask is None else read_mask(mask, **place),
            affine=volumes.affine,
        )
    else:
        raise VolumeError(
            f"load: {path} must be a label image (.nii.gz) for the volumes {volumes.path}. A "
            ".dlabel.nii is for grayordinates."
        )
    note = Finding("note", "values", f"are means of {len(regions.names)} parcels of {path.name}.")
    return Series(
        path=volumes.path,
        shape=(volumes.shape[0], 1, 1, len(regions.names)),
        affine=np.eye(4),
        tr=volumes.tr,
        slope=1.0,
        inter=0.0,
        dtype=np.dtype(np.float32),
        notes=(*volumes.notes, note),
        _file=_Means(volumes, regions),
        locations=Locations(
            parcels=check_names(regions.names, path=path),
            atlas=sha256(path)[:16],
            centers_mm=regions.centers_mm,
        ),
    )


@dataclass(frozen=True, eq=False)
class _Means:
    """Means of a run in the regions of an atlas."""

    volumes: Volumes
    regions: Parcellation

    def read(self) -> npt.NDArray[Any]:
        # a copy of the header, so that the unpacked run is freed when its means are known
        run = replace(self.volumes)
        means = self.regions.means(run.raw())  # (R, T)
        values = (run.slope * means + run.inter).astype(np.float32)
        return np.ascontiguousarray(values.T)[:, None, None, :]


def names_beside(path: Path) -> Mapping[int, str] | None:
    """Read the names of the labels of ``atlas.nii.gz`` from ``atlas.tsv``; None without it."""
    table = path.with_name(path.name.split(".nii")[0] + ".tsv")
    return read_label_names(table) if table.is_file() else None


def _of_grayordinates(series: Series, path: Path) -> Parcellation:
    if series.locations.parcels:
        raise InputError(
            f"load: {series.path} holds parcels already, got the atlas {path}. Give a table with "
            "the columns index and name, or nothing."
        )
    if not path.name.endswith(".dlabel.nii"):
        raise VolumeError(
            f"load: {path} must be a .dlabel.nii for the grayordinates of {series.path}, got "
            "another file."
        )
    labels, names = labels_at(series.locations, path)
    return Parcellation.from_labels(labels[None, None, :], names=names)


def labels_at(locations: Locations, path: Path) -> tuple[npt.NDArray[np.int64], dict[int, str]]:
    """Read the labels (V,) of grayordinates from a ``.dlabel.nii``, and their names.

    Locations that the file does not have get the label 0.

    Raises
    ------
    VolumeError
        The file holds no labels, or those of other surfaces or voxels.
    """
    from nibabel.cifti2.cifti2_axes import LabelAxis

    (rows, columns), values = read_cifti(path)
    if not isinstance(rows, LabelAxis):
        raise VolumeError(
            f"load: {path} must hold labels (.dlabel.nii), got {type(rows).__name__}."
        )
    known = structures_of(path, columns)
    with parsing(path, "CIFTI-2"):
        table = {int(key): str(name) for key, (name, _) in rows.label[0].items()}
    keys = np.nan_to_num(values[0]).clip(-(2**31), 2**31).astype(np.int64)
    own: dict[str, tuple[Structure, npt.NDArray[np.int64]]] = {}
    start = 0
    for structure in known:
        own[structure.name] = (structure, keys[start : start + len(structure)])
        start += len(structure)
    found = np.concatenate([_labels_in(s, own.get(s.name), path) for s in locations.structures])
    present = {int(k) for k in np.unique(found) if k}
    if not present or not present <= set(table):
        raise VolumeError(
            f"load: {path} must label the grayordinates of the runs with names, got "
            f"{len(present)} labels, {some(sorted(present - set(table)))} without a name."
        )
    # parcels of the table that lie elsewhere (another structure) have no location here
    return found, {key: table[key] for key in sorted(present)}


def _labels_in(
    wanted: Structure, known: tuple[Structure, npt.NDArray[np.int64]] | None, path: Path
) -> npt.NDArray[np.int64]:
    if known is None:
        return np.zeros(len(wanted), dtype=np.int64)
    structure, labels = known
    if wanted.vertices is not None:
        if structure.n_vertices != wanted.n_vertices or structure.vertices is None:
            raise VolumeError(
                f"load: {path} must be on the surface of the runs ({wanted.name} of "
                f"{wanted.n_vertices} vertices), got {structure.n_vertices}."
            )
        whole = np.zeros(wanted.n_vertices, dtype=np.int64)
        whole[structure.vertices] = labels
        return whole[wanted.vertices]
    a, b = structure.affine, wanted.affine
    if structure.voxels is None or a is None or b is None or not np.allclose(a, b, atol=1e-3):
        raise VolumeError(f"load: {path} must have the voxels of the runs in {wanted.name}.")
    place = {tuple(ijk): int(label) for ijk, label in zip(structure.voxels, labels, strict=True)}
    assert wanted.voxels is not None
    return np.array([place.get(tuple(ijk), 0) for ijk in wanted.voxels], dtype=np.int64)
