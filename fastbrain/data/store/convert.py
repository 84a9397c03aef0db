"""Convert one run: clean its voxels, pack them into patches and write them."""

from __future__ import annotations

import hashlib
import io
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from ..._arrays import npy_bytes, read_npy
from ..._digests import write_sealed
from ..._io import sha256, write_atomic
from ...errors import CohortError, StoreError
from ...grid import TokenGrid
from ..readers.betas import load_betas
from ..readers.events import Trial
from ..readers.recordings import open_recording
from ..readers.resample import InMemory, at_voxels
from ..readers.runs_table import RunRecord
from ..readers.volumes import Volumes
from .clean_betas import clean_betas
from .denoising.strategy import Censor, Denoising
from .denoising.table import read_confounds_of
from .detrend import StoredRun, Units, clean_run
from .exclusion import Exclusion
from .inputs import identities, size_and_time
from .plan import StorePlan
from .planning_layout import aligned
from .quality import quality_of
from .resume import IMAGES, REASON
from .statistics import mean_image
from .stored_steps import StoredType, to_steps


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


@dataclass(frozen=True)
class Conversion:
    """What all runs of a store are converted with.

    Parameters
    ----------
    root : Path
        Folder of the store.
    grid : TokenGrid
    affine : ndarray, (4, 4) float64
    units : str
    high_pass_s : float or None
    smoothing_mm : float or None
        Full width at half maximum of a Gaussian, mm.
    dtype : str
        ``"int16"`` or ``"int8"``.
    beta_divisor : float or None
        For betas of single trials, stored units per percent; None for volumes of runs.
    denoising : Denoising or None
    exclude : Exclusion or None
        Limits of quality beyond which a run is measured and not written.
    tr, onset_offset_s : float
        Seconds; the offset is added to every onset.
    """

    root: Path
    grid: TokenGrid
    affine: npt.NDArray[np.float64]
    units: Units
    high_pass_s: float | None
    smoothing_mm: float | None
    dtype: StoredType
    beta_divisor: float | None
    denoising: Denoising | None
    exclude: Exclusion | None
    tr: float
    onset_offset_s: float

    @classmethod
    def of(cls, root: Path, plan: StorePlan) -> Conversion:
        """Take from a plan what the runs need, so that little is sent to other processes."""
        return cls(
            root=root,
            grid=plan.grid,
            affine=plan.affine,
            units=plan.units,
            high_pass_s=plan.high_pass_s,
            smoothing_mm=plan.smoothing_mm,
            dtype=plan.dtype,
            beta_divisor=plan.beta_divisor,
            denoising=plan.denoising,
            exclude=plan.exclude,
            tr=plan.tr,
            onset_offset_s=plan.window.onset_offset_s,
        )

    @cached_property
    def packing(self) -> Packing:
        """Voxels of the grid and their places in the patches."""
        return Packing(self.grid)


@dataclass(frozen=True)
class RunTask:
    """A run to convert, with its trials.

    Parameters
    ----------
    run : RunRecord
    trials : tuple of Trial
    """

    run: RunRecord
    trials: tuple[Trial, ...]


def convert_run(how: Conversion, task: RunTask) -> dict[str, Any]:
    """Convert a run into ``runs/RUN.npy``, with its mean image and the record for resuming.

    Memory holds the brain voxels of the run as they are stored in the image, and once more as
    integers of the store. Matrix products run on one thread, so that the bytes do not depend on the
    number of threads.

    Returns
    -------
    dict
        Facts for the manifest, with `inputs` and `sha256` for the record. Of a run beyond a limit
        of quality nothing but the record is written, with the reason under ``excluded``.

    Raises
    ------
    CohortError
        The image changed while it was read.
    """
    run = task.run
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(1) as beside:
        before = size_and_time(run.bold)
        # hashed beside the decompression, which leaves a core free where one run is converted
        inputs = beside.submit(identities, run.bold, run.volume)
        volumes = _brain(run, how)
        clean, facts, odd = _cleaned(how, task, volumes)
        if inputs.exception() is None and size_and_time(run.bold) != before:
            raise CohortError(
                f"prepare_store: {run.bold} must not change while it is read, got a change. Resume "
                "when its own preprocessing is finished."
            )
        path = how.root / "runs" / f"{run.run_id}.npy"
        result = {
            "subject": run.subject,
            "source": run.source,
            "source_bytes": before[0],
            "n_volumes": volumes.shape[0],
            "start_time": run.start_time,
            "dead_voxels": clean.dead,
            "notes": [f"{note.field} {note.message}" for note in volumes.notes] + odd,
            **facts,
        }
        unfit = "" if how.exclude is None else how.exclude.unfit(run.run_id, facts["quality"])
        if unfit:
            result |= {REASON: unfit, "inputs": inputs.result()}
            write_sealed(path.with_suffix(".json"), result)
            return result
        stored = to_steps(clean.values, how.dtype, censored=facts["censored"])
        voxels = np.arange(volumes.shape[-1])
        image = how.packing.pack(mean_image(volumes, voxels, facts["censored"]))
        digest = _write_packed(path, stored.values, how.packing)
        picture = write_atomic(how.root / IMAGES / f"{run.run_id}.npy", npy_bytes(image))
        result |= {
            "step": stored.step,
            "clipped": clean.clipped + stored.clipped,
            "inputs": inputs.result(),
            "sha256": digest,
            "mean_image": sha256(picture),
        }
        if stored.snr_db is not None:
            result["snr_db"] = stored.snr_db
    write_sealed(path.with_suffix(".json"), result)
    return result


def _cleaned(
    how: Conversion, task: RunTask, volumes: Volumes
) -> tuple[StoredRun, dict[str, Any], list[str]]:
    """Clean the brain voxels of a run; return them with its facts of denoising, and notes."""
    voxels = np.arange(volumes.shape[-1])
    if how.beta_divisor is not None:
        facts = {"censored": [], "confounds": 0, "quality": {}, "traces": {}}
        return clean_betas(volumes, voxels, units=how.units), facts, []
    values, censored = None, np.zeros(volumes.shape[0], dtype=bool)
    censor: Censor = "interpolate"
    if how.denoising is not None:
        found = read_confounds_of(task.run, how.denoising, volumes.shape[0])
        values, censored, censor = found.values, found.censored, how.denoising.censor
    clean = clean_run(
        *(volumes, voxels),
        units=how.units,
        high_pass_s=how.high_pass_s,
        confounds=values,
        censored=None if values is None else censored,
        censor=censor,
    )
    quality = quality_of(
        *(clean, task.run, task.trials, censored), tr=how.tr, onset_offset_s=how.onset_offset_s
    )
    facts = {
        "censored": np.flatnonzero(censored).tolist(),
        "confounds": clean.projection.confounds,
        "quality": quality.row,
        "traces": quality.traces,
    }
    return clean, facts, quality.notes


def _brain(run: RunRecord, how: Conversion) -> Volumes:
    """Read the brain voxels of a run as a run of shape (T, 1, 1, V)."""
    if how.beta_divisor is None:
        volumes = aligned(open_recording(run), how.grid)
    else:
        volumes = load_betas(
            run.bold, divisor=how.beta_divisor, grid_of=run.mask, dataset=run.dataset
        )
    moved, voxels = at_voxels(
        *(volumes, how.packing.voxels, how.grid.shape, how.affine), smoothing_mm=how.smoothing_mm
    )
    if moved is not volumes:
        return moved
    series = volumes.series(voxels)
    return replace(
        volumes,
        shape=(len(series), 1, 1, series.shape[1]),
        dtype=series.dtype,
        _file=InMemory(series[:, None, None]),
    )


def _write_packed(
    path: Path, values: npt.NDArray[np.int16] | npt.NDArray[np.int8], packing: Packing
) -> str:
    """Write voxels (T, V) as patches (T, n_tokens, P), and return the sha256 of the file."""
    digest = hashlib.sha256()
    dtype = values.dtype.newbyteorder("<")
    padded = np.zeros(packing.voxels.size + 1, dtype=dtype)
    volume = np.empty(packing.lookup.shape, dtype=dtype)

    def write(file: IO[bytes]) -> None:
        head = io.BytesIO()
        header = {"descr": dtype.str, "fortran_order": False}
        shape = (len(values), *packing.lookup.shape)
        np.lib.format.write_array_header_1_0(head, {**header, "shape": shape})
        digest.update(head.getvalue())
        file.write(head.getvalue())
        # volume by volume, so that the packed run is never in memory as a whole
        for row in values:
            padded[:-1] = row
            np.take(padded, packing.lookup, out=volume, mode="clip")
            digest.update(volume.data)
            file.write(volume.data)

    write_atomic(path, write)
    return digest.hexdigest()


def read_mean_image(root: Path, run_id: str, grid: TokenGrid) -> npt.NDArray[np.float32]:
    """Read the mean image of a converted run, (n_tokens, P) float32."""
    shape = (grid.n_tokens, grid.patch_voxels)
    path = root / IMAGES / f"{run_id}.npy"
    found = read_npy(path, where="prepare_store", error=StoreError, shape=shape, dtype=np.float32)
    return np.asarray(found)
