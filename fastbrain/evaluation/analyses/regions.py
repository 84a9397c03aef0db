"""Scores by brain region: the same decoder, with only one region in its input."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..._arguments import checked
from ...data import VoxelStore
from ...data.readers.masks import read_labels
from ...data.store.geometry import need_volumes
from ...errors import InputError
from ...stats.inference import adjusted_p
from ..controls.noise import Moments
from ..controls.store_views import StoreView, changed_store
from ..scores import Score

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class RegionScore:
    """Score of a decoder with one brain region as input.

    Parameters
    ----------
    name : str
    voxels : int
        Number of voxels in the region.
    score : Score
    adjusted_p : float
        p of the score, adjusted over all regions (Benjamini-Hochberg).
    """

    name: str
    voxels: int
    score: Score
    adjusted_p: float


@checked
def atlas_regions(
    atlas: str | Path | npt.NDArray[Any],
    names: Mapping[int, str] | None = None,
    *,
    store: VoxelStore,
) -> dict[str, Mask]:
    """Read the region masks of an atlas, restricted to the voxels of a store.

    Parameters
    ----------
    atlas : str, Path or ndarray, (Z, Y, X) int
        Label image on the store's grid; 0 is background.
    names : mapping of int to str, optional
        Labels to use and their names. Default: every label, named by its number.
    store : VoxelStore

    Returns
    -------
    dict of str to ndarray, (Z, Y, X) bool

    Raises
    ------
    InputError, VolumeError
        The atlas is on another grid, or a region has no voxel in the store.
    """
    grid = store.grid
    if isinstance(atlas, str | Path):
        need_volumes(store, function="atlas_regions", remedy="Give the labels as an array.")
        labels = read_labels(atlas, shape=grid.shape, affine=store.affine)
    else:
        labels = np.asarray(atlas)
    if labels.shape != grid.shape:
        raise InputError(
            f"atlas_regions: atlas must have the store's shape (Z, Y, X) {grid.shape}, got "
            f"{labels.shape}. Resample it to the store's grid, with nearest neighbours."
        )
    if names is None:
        names = {int(k): str(int(k)) for k in np.unique(labels) if k}
    regions = {name: (labels == label) & grid.mask for label, name in names.items()}
    empty = [name for name, mask in regions.items() if not mask.any()]
    if empty or not regions:
        raise InputError(
            f"atlas_regions: every region must hold voxels of the store, got none in {empty[:5]}. "
            "Leave these regions out."
        )
    return regions


@checked
def keep_region(values: npt.ArrayLike, mask: Mask, moments: Moments) -> npt.NDArray[np.floating]:
    """Set all voxels outside a region to their training mean.

    Parameters
    ----------
    values : array_like, (N, ...)
        Rows of voxels or features.
    mask : ndarray, (...) bool
        True inside the region.
    moments : Moments
        Moments of the training part.

    Raises
    ------
    InputError
        Shapes differ or the region is empty.
    """
    data = np.asarray(values)
    if data.shape[1:] != mask.shape or moments.mean.shape != mask.shape or not mask.any():
        raise InputError(
            f"keep_region: mask and moments must be {data.shape[1:]} with a voxel inside, got "
            f"{mask.shape} with {int(mask.sum())} and {moments.mean.shape}."
        )
    return np.where(mask, data, moments.mean).astype(np.result_type(data, np.float32), copy=False)


@checked
def region_store(store: VoxelStore, name: str, mask: Mask) -> StoreView:
    """View a store with only one region; all other voxels are set to their training mean.

    Parameters
    ----------
    store : VoxelStore
    name : str
    mask : ndarray, (Z, Y, X) bool

    Returns
    -------
    StoreView
        Pass it to a ``WindowLoader``.
    """
    if mask.shape != store.grid.shape:
        raise InputError(
            f"region_store: mask must have the store's shape (Z, Y, X) {store.grid.shape}, got "
            f"{mask.shape}."
        )
    inside = store.grid.pack(mask.astype(bool))  # (n_tokens, P)
    moments = Moments.of_store(store)
    return changed_store(store, f"region {name}", lambda _, run: keep_region(run, inside, moments))


@checked
def evaluate_regions(
    evaluate: Callable[[str, Mask], Score], regions: Mapping[str, Mask]
) -> tuple[RegionScore, ...]:
    """Score every region separately and adjust p over the regions.

    Parameters
    ----------
    evaluate : callable
        Maps name and mask of a region to a score with a p.
    regions : mapping of str to ndarray of bool
        Masks of one common shape; they may overlap.

    Returns
    -------
    tuple of RegionScore
        In the order of `regions`.

    Raises
    ------
    InputError
        There is no region, or a score has no p.
    """
    if not regions:
        raise InputError("evaluate_regions: regions must not be empty.")
    scores = {name: evaluate(name, mask) for name, mask in regions.items()}
    p = [s.p for s in scores.values() if isinstance(s, Score) and s.p is not None]
    if len(p) < len(scores):
        raise InputError("evaluate_regions: evaluate must give scores with a p, got some without.")
    return tuple(
        RegionScore(name, int(regions[name].sum()), score, float(adjusted))
        for (name, score), adjusted in zip(scores.items(), adjusted_p(p), strict=True)
    )
