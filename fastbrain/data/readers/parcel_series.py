"""Means of volumes or grayordinates in the parcels of an atlas."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..._io import sha256
from ...errors import InputError, VolumeError, some
from .cifti import parsing, read_cifti, structures_of
from .findings import Finding
from .locations import Locations, Structure, check_names
from .masks import read_labels, read_mask
from .parcel_tables import names_beside
from .parcellation import Parcellation
from .series import Series
from .volumes import Volumes


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
        The file holds no labels, several maps of them, or those of other surfaces or voxels.
    """
    from nibabel.cifti2.cifti2_axes import LabelAxis

    (rows, columns), values = read_cifti(path)
    if not isinstance(rows, LabelAxis):
        raise VolumeError(
            f"load: {path} must hold labels (.dlabel.nii), got {type(rows).__name__}."
        )
    if len(rows) != 1:
        raise VolumeError(
            f"load: {path} must hold one map of labels, got {len(rows)}. Save one of them alone "
            "(wb_command -cifti-merge OUT -cifti IN -column N)."
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
