"""Options of grids and smoothing of a store."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class GridOptions:
    """Smoothing of the volumes, and the voxel grid of runs on several ones."""

    smoothing: float | None = None
    """Full width at half maximum of a Gaussian that smooths every volume, mm."""
    resample: str | None = None
    """Grid that all runs are interpolated to: first (that of the first run), mni:2 (MNI box, any
    voxel size in mm), a store or an image; default: runs must share a grid."""


@dataclass(frozen=True, kw_only=True)
class NativeGridOptions:
    """Stores with an own voxel grid for each person."""

    native_grids: bool = False
    """Keep the grid of each person: a collection of stores, with a mask and statistics each."""
    centred: bool = False
    """With --native-grids: positions of tokens count from the centre of each brain, for images in
    the space of each person."""
