"""Mean time courses of atlas regions, ``[regions, T]``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..._arguments import checked
from ...errors import InputError, VolumeError
from ..readers.masks import read_labels
from ..readers.parcellation import Parcellation
from ..readers.volumes import Volumes
from ..store.store import VoxelStore


@checked
def read_parcellation(
    path: str | Path, volumes: Volumes, *, names: Mapping[int, str] | None = None
) -> Parcellation:
    """Read a label image that lies on the grid of a run.

    Parameters
    ----------
    path : str or Path
    volumes : Volumes
    names : mapping of int to str, optional
        See :meth:`Parcellation.from_labels`.

    Raises
    ------
    VolumeError
        The image lies on another grid, or cannot be read.
    InputError
        A region has no voxel.
    """
    labels = read_labels(path, shape=volumes.shape[1:], affine=volumes.affine)
    return Parcellation.from_labels(labels, names=names, affine=volumes.affine)


@checked
def parcel_series(
    source: Volumes | VoxelStore, parcellation: Parcellation, *, run_id: str | None = None
) -> npt.NDArray[np.float64]:
    """Compute the mean time courses of regions, in the units of the source.

    Parameters
    ----------
    source : Volumes or VoxelStore
        The values of a store are detrended, in percent signal change or standard deviations.
    parcellation : Parcellation
        For a store: defined on its volumes or on its grid (:meth:`Parcellation.on_grid`).
    run_id : str, optional
        Run of the store.

    Returns
    -------
    ndarray, (R, T) float64

    Raises
    ------
    InputError
        The grid differs, a value is not finite, or `run_id` is missing for a store.
    VolumeError
        A region is constant over the run: it contains no signal.
    """
    if isinstance(source, VoxelStore):
        if run_id is None:
            raise InputError("parcel_series: run_id must name a run of the store, got None.")
        if parcellation.elements != source.grid.offsets.size:
            parcellation = parcellation.on_grid(source.grid)
        series = source.scale * parcellation.means(source.run(run_id))
        where = f"run {run_id} of {source.path}"
    else:
        series = source.slope * parcellation.means(source.raw()) + source.inter
        where = str(source.path)
    constant = np.ptp(series, axis=1) == 0
    if constant.any():
        dead = [n for n, c in zip(parcellation.names, constant, strict=True) if c]
        raise VolumeError(
            f"parcel_series: {where} must vary in every region, got {len(dead)} constant: "
            f"{dead[:5]}. Leave these regions out, for every run."
        )
    return series
