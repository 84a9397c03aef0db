"""Convert one run: clean its voxels, pack them into patches and write them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..._arrays import read_npy
from ..._digests import write_sealed
from ..._io import sha256, write_atomic
from ...errors import CohortError, StoreError
from ...grid import TokenGrid
from ..readers.resample import on_grid
from ..readers.runs_table import RunRecord
from ..readers.volumes import load_volumes
from .denoising.table import read_confounds_of
from .detrend import clean_run
from .inputs import identities, size_and_time
from .plan import StorePlan
from .quality import quality_row
from .resume import IMAGES
from .statistics import mean_image


class Packing:
    """Brain voxels of a grid, and the place of every patch element among them.

    A voxel in two overlapping patches is cleaned once.

    Parameters
    ----------
    grid : TokenGrid
    """

    def __init__(self, grid: TokenGrid) -> None:
        self.voxels, inverse = np.unique(grid.offsets[grid.patch_mask], return_inverse=True)
        self.lookup = np.full(grid.offsets.shape, self.voxels.size, dtype=np.int64)
        self.lookup[grid.patch_mask] = inverse.reshape(-1)

    def pack(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Arrange brain voxels (..., V) as patches (..., n_tokens, P); 0 outside the mask."""
        padding = np.zeros((*values.shape[:-1], 1), dtype=values.dtype)
        return np.concatenate([values, padding], axis=-1)[..., self.lookup]


def convert_run(root: Path, run: RunRecord, plan: StorePlan, packing: Packing) -> dict[str, Any]:
    """Convert a run into ``runs/RUN.npy``, with its mean image and the record for resuming.

    Returns
    -------
    dict
        Facts for the manifest, with `inputs` and `sha256` for the record.

    Raises
    ------
    CohortError
        The image changed while it was read.
    """
    before = size_and_time(run.bold)
    inputs = identities(run.bold)
    volumes = load_volumes(run.bold, tr=run.tr)
    nuisance = None
    if plan.denoising is not None:
        nuisance = read_confounds_of(run, plan.denoising, volumes.shape[0])
    if plan.reference is not None or plan.resampled:
        volumes = on_grid(volumes, plan.grid.mask, plan.affine)
    clean = clean_run(
        *(volumes, packing.voxels),
        units=plan.units,
        high_pass_s=plan.high_pass_s,
        confounds=None if nuisance is None else nuisance.values,
        censored=None if nuisance is None else nuisance.censored,
        censor="interpolate" if plan.denoising is None else plan.denoising.censor,
    )
    image = packing.pack(mean_image(volumes, packing.voxels))
    if size_and_time(run.bold) != before:
        raise CohortError(
            f"prepare_store: {run.bold} must not change while it is read, got a change. Resume "
            "when its own preprocessing is finished."
        )
    quality, odd = quality_row(clean, run, plan)
    path = root / "runs" / f"{run.run_id}.npy"

    def write(file: Any) -> None:
        shape = (len(clean.values), *packing.lookup.shape)
        header = {"descr": "<i2", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        # written volume by volume, so that the packed run is never in memory as a whole
        for volume in clean.values:
            file.write(packing.pack(volume).astype("<i2", copy=False).data)

    write_atomic(path, write)
    picture = write_atomic(root / IMAGES / f"{run.run_id}.npy", npy_bytes(image))
    result = {
        "source": run.bold.name,
        "source_bytes": before[0],
        "n_volumes": volumes.shape[0],
        "clipped": clean.clipped,
        "dead_voxels": clean.dead,
        "notes": [f"{note.field} {note.message}" for note in volumes.notes] + odd,
        "censored": [] if nuisance is None else np.flatnonzero(nuisance.censored).tolist(),
        "confounds": clean.projection.confounds,
        "quality": quality,
        "inputs": inputs,
        "sha256": sha256(path),
        "mean_image": sha256(picture),
    }
    write_sealed(path.with_suffix(".json"), result)
    return result


def read_mean_image(root: Path, run_id: str, grid: TokenGrid) -> npt.NDArray[np.float32]:
    """Read the mean image of a converted run, (n_tokens, P) float32."""
    shape = (grid.n_tokens, grid.patch_voxels)
    path = root / IMAGES / f"{run_id}.npy"
    found = read_npy(path, where="prepare_store", error=StoreError, shape=shape, dtype=np.float32)
    return np.asarray(found)


def npy_bytes(array: npt.NDArray[Any]) -> bytes:
    """Return the content of an ``.npy`` file."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()
