"""Compare windows with the training windows before they are decoded."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..._arguments import checked
from .store import VoxelStore
from .window_limits import correlation, window_statistics


@checked
def window_faults(store: VoxelStore, trial_ids: Sequence[str], like: VoxelStore) -> dict[str, str]:
    """Compare stored windows with the training windows: one rule for all that decodes.

    Parameters
    ----------
    store : VoxelStore
    trial_ids : sequence of str
    like : VoxelStore
        Store of training, or its preparation.

    Returns
    -------
    dict
        Trial id to a description with the numbers, for each window outside the limits.

    Raises
    ------
    StoreError
        A trial is not in the store.
    InputError
        The stores have different grids.
    """
    rows = window_statistics(
        (store.window(t) for t in trial_ids),
        mean=like.mean,
        inv_std=like.inv_std,
        scale=store.scale,
        mean_image=like.mean_image,
    )
    alive = like.inv_std > 0
    shared = None
    if not np.array_equal(store.mean_image, like.mean_image):
        # correlations in the manifest are with another mean image
        shared = correlation(store.mean_image[alive], like.mean_image[alive])
    limits, found = like.limits, {}
    for trial_id, row in zip(trial_ids, rows, strict=True):
        run = store.info.runs[store.by_id[trial_id].run_id]
        fault = limits.fault(row, run.get("image_correlation") if shared is None else shared)
        if fault:
            found[trial_id] = fault
    return found
