"""Statistics of a store, fitted on its training windows: mean, spread, mean image and limits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..._arrays import read_npy
from ...errors import StoreError
from ..readers.volumes import Volumes
from .detrend import STEP
from .plan import StorePlan
from .store import VoxelStore
from .window_limits import WindowLimits, correlation, window_statistics

_MIN_STD = 1e-6  # store units; voxels with a smaller std count as constant
_VOLUMES = 16  # of a run, for its mean image
_WINDOWS = 512  # training windows that set the limits


@dataclass(frozen=True, eq=False)
class Statistics:
    """Statistics of a store.

    Parameters
    ----------
    mean, inv_std : ndarray, (n_tokens, P) float32
        Mean and 1/std over the training windows, in store units; both are 0 outside the mask and
        for constant voxels.
    mean_image : ndarray, (n_tokens, P) float32
        Mean image of the training runs, see :func:`mean_image`.
    limits : WindowLimits
    """

    mean: npt.NDArray[np.float32]
    inv_std: npt.NDArray[np.float32]
    mean_image: npt.NDArray[np.float32]
    limits: WindowLimits


def fit_statistics(
    root: Path, plan: StorePlan, image_of: Callable[[str], npt.NDArray[np.float32]]
) -> Statistics:
    """Fit the statistics of a store on the volumes that its training windows cover.

    Parameters
    ----------
    root : Path
        The store, with its runs converted.
    plan : StorePlan
    image_of : callable
        Maps a run id to the run's mean image, (n_tokens, P) float32.
    """
    runs = plan.training_volumes()
    mean, inv_std = _moments(root, plan)
    total = np.zeros(mean.shape)
    for run_id in runs:
        total += image_of(run_id)
    image = (total / len(runs)).astype(np.float32)
    alive = inv_std > 0
    training = set(plan.split.train)
    chosen = [t for t in plan.trials if t.trial_id in training]
    chosen = chosen[:: -(-len(chosen) // _WINDOWS)]
    windows = (_run(root, t.run_id)[t.start : t.start + t.frames] for t in chosen)
    found = window_statistics(
        windows, mean=mean, inv_std=inv_std, scale=STEP[plan.units], mean_image=image
    )
    shared = []
    for own in map(image_of, runs):
        # compared with the other runs, because a run is part of the mean of all
        others = (total - own) / (len(runs) - 1) if len(runs) > 1 else own
        shared.append(correlation(own[alive], others[alive]))
    return Statistics(mean, inv_std, image, WindowLimits.of(found, shared))


def statistics_of(store: VoxelStore) -> Statistics:
    """Return the statistics of a finished store."""
    return Statistics(store.mean, store.inv_std, store.mean_image, store.limits)


def _moments(
    root: Path, plan: StorePlan
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Compute mean and 1/std of every patch element over the volumes of training windows."""
    size = (plan.grid.n_tokens, plan.grid.patch_voxels)
    total, square, count = np.zeros(size), np.zeros(size), 0
    for run_id, rows in plan.training_volumes().items():
        stored = _run(root, run_id)
        for t in rows:
            # sums of int16 are exact in float64, so their order does not change the result
            volume = stored[t].astype(np.float64)
            total += volume
            volume *= volume
            square += volume
        count += len(rows)
    if not count:
        raise StoreError(
            "prepare_store: training windows must hold volumes that are not censored, got none. "
            "Raise the thresholds of the strategy."
        )
    scale = STEP[plan.units]
    mean = total / count
    std = scale * np.sqrt(np.maximum(square / count - mean**2, 0))
    alive = (std > _MIN_STD) & plan.grid.patch_mask
    if not alive.any():
        raise StoreError(
            f"prepare_store: training windows must hold a voxel that varies, got none in {count} "
            "volumes. Take more trials for training."
        )
    inv_std = np.divide(1, std, out=np.zeros(size), where=alive)
    return np.where(alive, scale * mean, 0).astype(np.float32), inv_std.astype(np.float32)


def _run(root: Path, run_id: str) -> npt.NDArray[np.int16]:
    path = root / "runs" / f"{run_id}.npy"
    return np.asarray(
        read_npy(path, where="fit_statistics", error=StoreError, dtype=np.int16, mmap=True)
    )


def mean_image(volumes: Volumes, voxels: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """Compute the mean intensity of the brain voxels of a run, divided by its median.

    Parameters
    ----------
    volumes : Volumes
    voxels : ndarray, (V,) int64
        Flat (Z, Y, X) indices of the brain voxels.

    Returns
    -------
    ndarray, (V,) float32
        From at most 16 evenly spaced volumes; 0 for voxels without a finite value.
    """
    raw = volumes.raw()
    raw = raw[:: -(-len(raw) // _VOLUMES)].reshape(-1, raw[0].size)[:, voxels]
    values = volumes.slope * raw.astype(np.float64) + volumes.inter
    image = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0).mean(axis=0)
    middle = float(np.median(np.abs(image)))
    return (image / middle if middle > 0 else image).astype(np.float32)
