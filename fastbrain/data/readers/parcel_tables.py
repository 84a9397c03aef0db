"""Time courses of parcels in files: tables, arrays of NumPy and of HDF5 files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..._arrays import read_npy
from ...errors import CohortError, VolumeError
from .hdf5 import Hdf5Array
from .locations import Locations, check_names, column_order
from .masks import read_label_names, read_labels
from .nifti import open_nifti
from .orientation import image_affine
from .parcellation import Parcellation
from .series import MAX_BYTES, Series, Values, check_size, checked_tr
from .tables import MISSING, read_tsv

TABLES = (".tsv", ".npy")
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
        names = _names_of_columns(path, parcels, values.shape[1])
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


def load_parcel_dataset(
    path: str | Path,
    dataset: str,
    *,
    tr: float | None = None,
    parcels: str | Path | None = None,
    max_bytes: int = MAX_BYTES,
) -> Series:
    """Open an array of parcels over time, (T, R), in an HDF5 file; its values are read later.

    Parameters
    ----------
    path : str or Path
    dataset : str
        Name of the array at the root of the file.
    tr : float
        Repetition time, seconds: the file does not state it.
    parcels : str or Path
        Names of the columns in their order: a table as for :func:`load_parcel_table`, or the label
        image of which they are the means, in the order of its labels; it also gives positions.
    max_bytes : int

    Returns
    -------
    Series

    Raises
    ------
    VolumeError
        The file cannot be read, has no such array, or `tr` is missing.
    CohortError
        `parcels` is missing, or names another number of parcels.
    MissingPartError
        h5py is not installed.
    """
    path = Path(path)
    array = Hdf5Array.open(path, dataset, _as_volumes)
    if len(array.shape) != 2:
        raise VolumeError(
            f"load: {path} {dataset} must be (T, parcels) numbers, got {array.dtype} of shape "
            f"{array.shape}."
        )
    n_volumes, n_parcels = array.shape
    check_size(path, (n_volumes, n_parcels), array.dtype.itemsize, max_bytes)
    seconds, findings = checked_tr(path, None, tr)
    if parcels is not None and str(parcels).endswith((".nii", ".nii.gz")):
        names, centers = _regions_of(Path(parcels), path, n_parcels)
    else:
        names = _names_of_columns(path, parcels, n_parcels)
        centers = None if parcels is None else positions_of(Path(parcels), names)
    return Series(
        path=path,
        shape=(n_volumes, 1, 1, n_parcels),
        affine=np.eye(4),
        tr=seconds,
        slope=1.0,
        inter=0.0,
        dtype=np.dtype(np.float32),
        notes=tuple(findings),
        _file=array,
        locations=Locations(parcels=names, centers_mm=centers),
    )


def _as_volumes(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return values.astype(np.float32, copy=False)[:, None, None, :]


def _names_of_columns(path: Path, parcels: str | Path | None, columns: int) -> tuple[str, ...]:
    """Read the names of columns without a header, in their order."""
    if parcels is None:
        raise CohortError(
            f"load: {path} has no names of its parcels. Give a table with the columns index and "
            "name (--parcels TABLE.tsv), so that they are not mixed up."
        )
    known = read_label_names(parcels)
    if list(known) != sorted(known):
        raise CohortError(
            f"load: {parcels} must have its rows in the order of the columns of {path}, got an "
            "index that does not ascend. Sort the rows as the columns are."
        )
    return _one_a_column(tuple(known.values()), path, parcels, columns)


def _one_a_column(
    names: tuple[str, ...], path: Path, parcels: str | Path, columns: int
) -> tuple[str, ...]:
    if len(names) != columns:
        raise CohortError(
            f"load: {parcels} must name the {columns} parcels of {path}, got {len(names)}."
        )
    return names


def _regions_of(
    atlas: Path, path: Path, columns: int
) -> tuple[tuple[str, ...], npt.NDArray[np.float64] | None]:
    """Read names and centres (R, 3), mm, of the regions that columns are the means of."""
    image = open_nifti(atlas, axes=3)
    affine, _ = image_affine(image)
    x, y, z = image.dims
    labels = read_labels(atlas, shape=(z, y, x), affine=affine)
    regions = Parcellation.from_labels(labels, names=names_beside(atlas), affine=affine)
    return _one_a_column(regions.names, path, atlas, columns), regions.centers_mm


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


def names_beside(path: Path) -> Mapping[int, str] | None:
    """Read the names of the labels of ``atlas.nii.gz`` from ``atlas.tsv``; None without it."""
    table = path.with_name(path.name.split(".nii")[0] + ".tsv")
    return read_label_names(table) if table.is_file() else None
