"""Positions of the tokens of a store."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..._arguments import checked
from ...grid import TokenGrid
from .store import VoxelStore

# centre of gravity of the MNI152 brain mask, mm
MNI_BRAIN_MM = (0.0, -22.0, 10.0)


@checked
def token_centers(store: VoxelStore) -> npt.NDArray[np.float64]:
    """Compute the patch centres of a store in mm, counted from its origin.

    Parameters
    ----------
    store : VoxelStore

    Returns
    -------
    ndarray, (n_tokens, 3) float64
        (x, y, z): world coordinates, or those that put the centre of the brain where it lies in
        MNI space, for a store that was prepared with ``centred``.
    """
    return store.grid.centers(store.affine) - np.asarray(store.info.origin_mm)


def origin_of(store: VoxelStore) -> tuple[float, float, float]:
    """Return the world position (x, y, z) from which positions of a store are counted, mm."""
    x, y, z = store.info.origin_mm
    return x, y, z


def brain_center(grid: TokenGrid, affine: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Compute the centre of gravity of the mask of a grid, world mm (x, y, z)."""
    middle = np.argwhere(grid.mask).mean(axis=0)[::-1]
    return np.asarray(affine[:3, :3] @ middle + affine[:3, 3])
