"""Features of whole windows: principal components of their volumes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..._arguments import checked
from ...errors import InputError
from ..store.out_of_core import StoreRows
from ..store.store import VoxelStore
from .pca import PCA, fit_pca

_MOST_VOLUMES = 4096  # the fit takes seconds and 128 MiB besides the components


@dataclass(frozen=True, eq=False)
class WindowComponents:
    """Principal components by which windows are described.

    Parameters
    ----------
    pca : PCA
        It lists the trials that it was fitted on.
    region : ndarray, (Z, Y, X) bool, or None
        Voxels that it was fitted on; None for all voxels of the store.
    whiten : bool
        Whether every component has unit variance over the training volumes.
    """

    pca: PCA
    region: npt.NDArray[np.bool_] | None = None
    whiten: bool = False

    def features(self, store: VoxelStore, trial_ids: Sequence[str]) -> npt.NDArray[np.float64]:
        """Compute the components (N, F · k) of all volumes of windows, one volume after another.

        Raises
        ------
        InputError
            A trial does not exist, or the windows differ in length or in their voxels.
        """
        rows = StoreRows(store, trial_ids, self.region)
        windows: npt.NDArray[Any] = rows.windows(self.pca.transform(rows, whiten=self.whiten))
        return windows.reshape(len(windows), -1).astype(np.float64)


@checked(least={"components": 1})
def fit_window_components(
    store: VoxelStore, trial_ids: Sequence[str], *, components: int = 256
) -> WindowComponents:
    """Fit principal components of the z-scored volumes of training windows.

    Parameters
    ----------
    store : VoxelStore
    trial_ids : sequence of str
        Trials of the training part only. Of more than about 4,096 volumes, the windows are thinned
        evenly.
    components : int
        Upper bound; fewer volumes or voxels have fewer.

    Returns
    -------
    WindowComponents

    Raises
    ------
    InputError
        A trial is not of the training part, or there are fewer than two volumes.
    """
    outside = sorted(set(trial_ids) - set(store.split.train))
    if outside or not trial_ids:
        raise InputError(
            "fit_window_components: trial_ids must be of the training part, got "
            f"{len(trial_ids)} of which {len(outside)} are not {outside[:1]}."
        )
    volumes = StoreRows(store, trial_ids).shape[0]
    kept = tuple(trial_ids[:: -(-volumes // _MOST_VOLUMES)])
    rows = StoreRows(store, kept)
    count = min(components, rows.shape[0] - 1, rows.shape[1])
    if count < 1:
        raise InputError(
            f"fit_window_components: trial_ids must hold two volumes or more, got {rows.shape[0]}."
        )
    return WindowComponents(fit_pca(rows, count, fitted_on=kept, standardise="zscore"))
