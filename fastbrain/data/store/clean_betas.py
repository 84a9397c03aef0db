"""Convert betas of single trials to the units of the store; nothing is filtered."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ...errors import VolumeError
from ..readers.volumes import Volumes
from .detrend import LIMIT, MAX_DEAD, STEP, StoredRun, Units, check_finite

_WIDTH = 4096  # voxels at a time
_MIN_STD = 1e-6  # percent


def clean_betas(volumes: Volumes, voxels: npt.NDArray[np.int64], *, units: Units) -> StoredRun:
    """Express the betas of a run in store units.

    ``psc``: as they are, in percent. ``zscore``: minus their mean over the trials of the file,
    divided by their standard deviation; statistics are computed from this file only, without texts.

    Parameters
    ----------
    volumes : Volumes
        Intensities in percent, one volume for each trial.
    voxels : ndarray, (V,) int64
        Flat (Z, Y, X) indices of the brain voxels.
    units : str

    Returns
    -------
    StoredRun
        Voxels that are constant or never finite are 0 and count as dead.

    Raises
    ------
    VolumeError
        A voxel is finite in some trials only, or more than 1 % of the voxels are dead.
    """
    raw = volumes.raw().reshape(volumes.shape[0], -1)
    values = np.empty((len(raw), voxels.size), dtype=np.int16)
    dead = np.zeros(voxels.size, dtype=bool)
    clipped = 0
    for begin in range(0, voxels.size, _WIDTH):
        part = slice(begin, begin + _WIDTH)
        x = volumes.slope * np.take(raw, voxels[part], axis=1).astype(np.float64) + volumes.inter
        gone = check_finite(x, volumes=volumes)
        x[:, gone] = 0
        spread = x.std(axis=0)
        gone |= spread <= _MIN_STD
        if units == "zscore":
            x = (x - x.mean(axis=0)) / np.where(gone, 1, spread)
        x[:, gone] = 0
        steps = np.rint(x / STEP[units])
        clipped += int(np.count_nonzero(np.abs(steps) > LIMIT))
        values[:, part] = steps.clip(-LIMIT, LIMIT)
        dead[part] = gone
    if dead.mean() > MAX_DEAD:
        raise VolumeError(
            f"clean_betas: {volumes.path} must have betas in 99 % of the mask, got "
            f"{int(dead.sum())} of {dead.size} voxels that are constant or never finite. Give a "
            "tighter mask."
        )
    return StoredRun(values, clipped, int(dead.sum()))
