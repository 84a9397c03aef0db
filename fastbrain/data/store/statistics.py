"""Statistics of a store, fitted on its training windows: mean, spread, mean image and limits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from ..._arrays import read_npy
from ...errors import StoreError
from ...grid import TokenGrid
from ..readers.events import Trial
from ..readers.volumes import Volumes
from .detrend import STEP, Units
from .store import VoxelStore
from .stored_steps import StoredArray
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
    run_of: Callable[[str], StoredArray],
    image_of: Callable[[str], npt.NDArray[np.float32]],
    *,
    volumes: Mapping[str, npt.NDArray[np.int64]],
    windows: Sequence[Trial],
    grid: TokenGrid,
    units: Units,
    threads: int = 1,
) -> Statistics:
    """Fit the statistics of a store on the volumes that its training windows cover.

    Parameters
    ----------
    run_of : callable
        Maps a run id to its converted voxels.
    image_of : callable
        Maps a run id to the run's mean image, (n_tokens, P) float32.
    volumes : mapping of str to ndarray
        By run id: volumes that training windows cover, without censored ones.
    windows : sequence of Trial
        Training trials; only their volumes that `volumes` has set the limits.
    grid : TokenGrid
    units : str
    threads : int
        Number of windows that are looked at at a time; the result does not depend on it.
    """
    mean, inv_std = _moments(run_of, volumes, grid, STEP[units])
    total = np.zeros(mean.shape)
    for run_id in volumes:
        total += image_of(run_id)
    image = (total / len(volumes)).astype(np.float32)
    alive = inv_std > 0
    inside = {
        t.trial_id: np.isin(range(t.start, t.start + t.frames), volumes.get(t.run_id, []))
        for t in windows
    }
    windows = [t for t in windows if inside[t.trial_id].any()]
    chosen = windows[:: -(-len(windows) // _WINDOWS)]

    def look(t: Trial) -> npt.NDArray[np.float64]:
        window = run_of(t.run_id)[t.start : t.start + t.frames]
        return window_statistics(
            [window[inside[t.trial_id]]],
            mean=mean,
            inv_std=inv_std,
            scale=STEP[units],
            mean_image=image,
        )

    # sums of BLAS depend on its threads
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(threads) as pool:
        found = np.concatenate([*pool.map(look, chosen)])
    shared = []
    for own in map(image_of, volumes):
        # compared with the other runs, because a run is part of the mean of all
        others = (total - own) / (len(volumes) - 1) if len(volumes) > 1 else own
        shared.append(correlation(own[alive], others[alive]))
    return Statistics(mean, inv_std, image, WindowLimits.of(found, shared))


def statistics_of(store: VoxelStore) -> Statistics:
    """Return the statistics of a finished store."""
    return Statistics(store.mean, store.inv_std, store.mean_image, store.limits)


def _moments(
    run_of: Callable[[str], StoredArray],
    volumes: Mapping[str, npt.NDArray[np.int64]],
    grid: TokenGrid,
    scale: float,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Compute mean and 1/std of every patch element over the volumes of training windows."""
    size = (grid.n_tokens, grid.patch_voxels)
    total, square, count = np.zeros(size), np.zeros(size), 0
    for run_id, rows in volumes.items():
        stored = run_of(run_id)
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
    mean = total / count
    std = scale * np.sqrt(np.maximum(square / count - mean**2, 0))
    alive = (std > _MIN_STD) & grid.patch_mask
    if not alive.any():
        raise StoreError(
            f"prepare_store: training windows must hold a voxel that varies, got none in {count} "
            "volumes. Take more trials for training."
        )
    inv_std = np.divide(1, std, out=np.zeros(size), where=alive)
    return np.where(alive, scale * mean, 0).astype(np.float32), inv_std.astype(np.float32)


def read_run(root: Path, run_id: str, *, steps: Mapping[str, int]) -> StoredArray:
    """Map the voxels of a converted run, (T, n_tokens, P), that slices are read from as int16."""
    path = root / "runs" / f"{run_id}.npy"
    return StoredArray(
        read_npy(path, where="prepare_store", error=StoreError, mmap=True), steps[run_id]
    )


def mean_image(
    volumes: Volumes, voxels: npt.NDArray[np.int64], censored: Sequence[int] = ()
) -> npt.NDArray[np.float32]:
    """Compute the mean intensity of the brain voxels of a run, divided by its median.

    Parameters
    ----------
    volumes : Volumes
    voxels : ndarray, (V,) int64
        Flat (Z, Y, X) indices of the brain voxels.
    censored : sequence of int
        Volumes that are left out.

    Returns
    -------
    ndarray, (V,) float32
        From at most 16 evenly spaced volumes; 0 for voxels without a finite value.
    """
    raw = volumes.raw()
    kept = np.setdiff1d(np.arange(len(raw)), censored)
    raw = raw[kept[:: -(-len(kept) // _VOLUMES)]].reshape(-1, raw[0].size)[:, voxels]
    if raw.dtype.kind == "f":
        values = volumes.slope * raw.astype(np.float64) + volumes.inter
        image = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0).mean(axis=0)
    else:
        image = volumes.slope * raw.mean(axis=0, dtype=np.float64) + volumes.inter
    middle = float(np.median(np.abs(image)))
    return (image / middle if middle > 0 else image).astype(np.float32)
