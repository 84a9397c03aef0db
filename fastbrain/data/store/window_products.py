"""Inner products of the windows of a store, a block of voxels at a time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ..._progress import track
from .out_of_core import StoreRows
from .store import VoxelStore

_BYTES = 2**27  # of one block of voxels, as float32


def window_products(
    store: VoxelStore, one: Sequence[str], other: Sequence[str], *, at_once: int = _BYTES
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Compute inner products of normalised windows without holding the windows in memory.

    A window is all voxels of all its volumes, normalised with the store's training mean and
    inv_std: `one` and `other` are then described exactly by (N, N) and (M, N) numbers.

    Parameters
    ----------
    store : VoxelStore
    one, other : sequence of str
        Ids of N and of M trials.
    at_once : int
        Bytes of a block of voxels.

    Returns
    -------
    own : ndarray, (N, N) float64
        Products of the windows `one` with each other.
    across : ndarray, (M, N) float64
        Products of the windows `other` with the windows `one`.

    Raises
    ------
    InputError
        A trial does not exist, or the windows differ in length.
    """
    rows = StoreRows(store, (*one, *other))
    volumes, voxels = rows.shape
    frames = store.by_id[one[0]].frames
    mean, inv_std = (v.ravel()[rows.voxels] for v in (store.mean, store.inv_std))
    n, m = len(one), len(other)
    step = max(1, at_once // (4 * (volumes + (n + m) * frames)))
    own, across = np.zeros((n, n)), np.zeros((m, n))
    for start in track(range(0, voxels, step), "products of windows"):
        part = slice(start, start + step)
        values = rows.columns(start, start + step).astype(np.float32)
        values *= np.float32(rows.scale)
        values -= mean[part]
        values *= inv_std[part]
        windows = rows.windows(values).reshape(n + m, -1)
        own += windows[:n] @ windows[:n].T
        across += windows[n:] @ windows[:n].T
    return own, across
