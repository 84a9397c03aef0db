"""Brain mask of a cohort, on the grid of its store."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..._arrays import brain_of
from ..._progress import track
from ...errors import InputError, VolumeError
from ...grid import Triple
from ..readers.masks import Mask, intersect_masks, read_mask
from ..readers.resample import check_coverage, computed_mask_on_grid, mask_on_grid, resampling
from ..readers.runs_table import RunRecord
from ..readers.volumes import Volumes, load_volumes
from .target_grid import TargetGrid


def brain_mask(
    runs: Sequence[RunRecord],
    headers: tuple[Volumes, ...],
    given: str | Path | npt.NDArray[Any] | None,
    target: TargetGrid,
) -> Mask:
    """Read or compute the brain mask of a cohort on its grid.

    Masks on other grids take the nearest voxel, and are intersected; see
    :func:`fastbrain.data.prepare_store`.

    Raises
    ------
    VolumeError
        A mask cannot be used, or the field of view of a run leaves out more than 1 % of it.
    """
    space, affine = target.shape, target.affine
    moved = [(run, v) for run, v in zip(runs, headers, strict=True)
             if resampling(v, space, affine) is not None]  # fmt: skip
    if isinstance(given, np.ndarray):
        if given.shape != space:
            raise InputError(f"plan_store: mask must be (Z, Y, X) {space}, got {given.shape}.")
        brain = brain_of(given, where="plan_store: mask", error=VolumeError)
    else:
        read = mask_on_grid if moved else read_mask_of
        if given is not None:
            brain = read(given, space, affine)
        else:
            files = sorted({run.mask for run in runs if run.mask is not None})
            masks = [read(path, space, affine) for path in files]
            unmasked = [run for run in runs if run.mask is None]
            # opened again, so that the memory of an unpacked run is freed before the next one
            masks += [
                computed_mask_on_grid(load_volumes(run.bold, tr=run.tr), space, affine)
                for run in track(unmasked, "computing masks")
            ]
            brain = intersect_masks(masks)
    voxels = np.flatnonzero(brain)
    for _, volumes in moved:
        check_coverage(volumes, voxels, space, affine)
    return brain


def read_mask_of(path: str | Path, shape: Triple, affine: npt.NDArray[np.float64]) -> Mask:
    """Read a mask that lies on the grid of the runs."""
    return read_mask(path, shape=shape, affine=affine)
