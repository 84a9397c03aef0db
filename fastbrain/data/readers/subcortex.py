"""Subcortical voxels of a volumetric image beside a pair of surfaces."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import CohortError
from .locations import Locations, Structure
from .masks import read_labels
from .parcel_tables import names_beside
from .series import Series
from .timing import TR_TOLERANCE_S
from .volumes import Volumes


@dataclass(frozen=True, eq=False)
class _Joined:
    """Vertices of both hemispheres, and voxels of the structures."""

    surfaces: Series
    volumes: Volumes
    voxels: npt.NDArray[np.int64]

    def read(self) -> npt.NDArray[Any]:
        surfaces = self.surfaces.scaled()[:, 0, 0]
        # a copy of the header, so that the unpacked volumes are freed
        image = replace(self.volumes)
        order = np.argsort(self.voxels)
        sorted_voxels = image.series(self.voxels[order])
        values = np.empty((len(surfaces), surfaces.shape[1] + len(order)), dtype=np.float32)
        values[:, : surfaces.shape[1]] = surfaces
        values[:, surfaces.shape[1] + order] = image.slope * sorted_voxels + image.inter
        return values[:, None, None, :]


def with_subcortex(surfaces: Series, volumes: Volumes, labels: str | Path) -> Series:
    """Add the voxels of subcortical structures to a pair of surfaces.

    Parameters
    ----------
    surfaces : Series
    volumes : Volumes
        Volumetric image of the same run.
    labels : str or Path
        3-D label image on its grid: a structure for each label, named by a table (``index``,
        ``name``) of the same name, else by its number.

    Returns
    -------
    Series
        The structures follow the hemispheres, in the order of their labels.

    Raises
    ------
    CohortError
        Surfaces and volumes differ in number or repetition time, or the image has no label.
    VolumeError
        The label image lies on another grid.
    """
    if volumes.shape[0] != surfaces.shape[0] or abs(volumes.tr - surfaces.tr) > TR_TOLERANCE_S:
        raise CohortError(
            f"load: {volumes.path} must be of the run of {surfaces.path}, with {surfaces.shape[0]} "
            f"volumes every {surfaces.tr:g} s, got {volumes.shape[0]} every {volumes.tr:g} s."
        )
    path = Path(labels)
    image = read_labels(path, shape=volumes.shape[1:], affine=volumes.affine)
    known = names_beside(path) or {int(k): f"LABEL_{k}" for k in np.unique(image) if k}
    structures, flat = [], []
    for label in sorted(known):
        inside = np.flatnonzero(image == label)
        if inside.size:
            zyx = np.stack(np.unravel_index(inside, image.shape), axis=1)
            voxels = np.ascontiguousarray(zyx[:, ::-1])
            structures.append(Structure(known[label], voxels=voxels, affine=volumes.affine))
            flat.append(inside)
    if not flat:
        raise CohortError(f"load: {path} must label subcortical structures, got none.")
    voxels = np.concatenate(flat)
    own = surfaces.locations
    width = surfaces.shape[3] + len(voxels)
    valid = surfaces.valid
    return replace(
        surfaces,
        shape=(surfaces.shape[0], 1, 1, width),
        slope=1.0,
        inter=0.0,
        dtype=np.dtype(np.float32),
        notes=(*surfaces.notes, *volumes.notes),
        locations=Locations(structures=(*own.structures, *structures)),
        valid=None if valid is None else np.concatenate([valid, np.ones(len(voxels), dtype=bool)]),
        _file=_Joined(surfaces, volumes, voxels),
    )
