"""Convert a cohort into a voxel store; resumable, because every file is complete or absent."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ... import __version__
from ..._arguments import checked
from ..._arrays import read_npy
from ..._digests import write_sealed
from ..._environment import check_environment
from ..._io import new_output, sha256, write_atomic, write_json
from ..._lock import hold
from ..._progress import say, track
from ...errors import CohortError, StoreError
from ...grid import TokenGrid, Triple
from ..readers.events import Trial, WindowSpec
from ..readers.runs_table import RunRecord
from ..readers.volumes import load_volumes
from ..splits.split import Split
from .detrend import STEP, Units, clean_run
from .highpass import HighPass
from .inputs import identities, size_and_time
from .manifest import LAYOUT_VERSION, MANIFEST, SMALL_FILES, Manifest
from .plan import StorePlan, plan_store
from .resume import LOCK, check_finished, claim, finished_runs
from .store import VoxelStore, write_trials_table

_MIN_STD = 1e-6  # store units; voxels with a smaller std count as constant


@checked
def prepare_store(
    runs: Sequence[RunRecord],
    out: str | Path,
    *,
    window: WindowSpec,
    kernel: Triple,
    split: Split | Callable[[list[Trial]], Split],
    mask: str | Path | npt.NDArray[Any] | None = None,
    stride: Triple | None = None,
    units: Units = "psc",
    high_pass_s: HighPass = "auto",
    min_voxels: int = 1,
    ignore: tuple[str, ...] = (),
    late: Literal["error", "drop"] = "error",
    resume: bool = False,
) -> VoxelStore:
    """Convert a cohort into a voxel store.

    All headers, events, masks and the split are checked before any voxel is converted. Each run
    is detrended separately; mean and standard deviation are computed only from the volumes that
    training windows cover.

    Parameters
    ----------
    runs : sequence of RunRecord
        All in one space, with one repetition time.
    out : str or Path
        New folder.
    window : WindowSpec
    kernel, stride : tuple of 3 int
        Patch size and step in voxels, (z, y, x); the default step is the kernel.
    split : Split or callable
        The split, or a function that makes it from the trials.
    mask : path or ndarray, (Z, Y, X), optional
        Default: intersection of the masks of all runs; computed from the image for runs without
        one.
    units : str
        ``"psc"``, percent signal change, or ``"zscore"``, standard deviations of the run.
    high_pass_s : float, None or "auto"
        Shortest drift period that is removed, seconds; None removes constant and line only.
        ``"auto"`` chooses it from the training events: 128 s, or longer if that would remove more
        than 20 % of the predicted variance of a category.
    min_voxels : int
        Minimum number of brain voxels in a patch that becomes a token.
    ignore : tuple of str
        Trial types or texts that are not trials.
    late : {"error", "drop"}
        What happens to a trial with a window that leaves the run; dropped ones are listed.
    resume : bool
        Whether to continue an interrupted preparation with the same settings and images.

    Returns
    -------
    VoxelStore

    Raises
    ------
    CohortError, VolumeError, SplitError, LeakError
        An input is invalid; the message names it.
    OutputExistsError
        `out` is not empty and `resume` is false.
    StoreError
        `out` was prepared with other settings or from other images, another process is preparing
        it, or voxels have no usable signal.
    DiskError
        The disk has too little space or cannot be written, which is checked first; a partial
        store can be resumed.
    """
    plan = plan_store(
        runs,
        window=window,
        kernel=kernel,
        split=split,
        mask=mask,
        stride=stride,
        units=units,
        high_pass_s=high_pass_s,
        min_voxels=min_voxels,
        ignore=ignore,
        late=late,
    )
    return write_store(plan, out, resume=resume)


@checked
def write_store(plan: StorePlan, out: str | Path, *, resume: bool = False) -> VoxelStore:
    """Execute a plan; see :func:`prepare_store`."""
    check_environment(out, needed_bytes=plan.nbytes - _written_bytes(out), function="prepare_store")
    root = new_output(out, resume=resume)
    with hold(root / LOCK, what="prepare_store"):
        claim(root, plan.settings(), resume=resume)
        if (root / MANIFEST).is_file():
            check_finished(root, plan.runs)
        else:
            _convert(root, plan)
    return VoxelStore.open(root)


def _written_bytes(out: str | Path) -> int:
    """Sum the sizes of the run files that an interrupted preparation has converted."""
    return sum(path.stat().st_size for path in Path(out).glob("runs/*.npy"))


def _convert(root: Path, plan: StorePlan) -> None:
    for note in plan.notes():
        say(f"note: {note}")
    done = finished_runs(root, plan.runs)
    # tables first, because they need no voxels and reveal write errors before the long work
    _write_tables(root, plan)
    voxels, lookup = _lookup(plan.grid)
    results: dict[str, dict[str, Any]] = {}
    for run in track(plan.runs, "preparing runs"):
        results[run.run_id] = done.get(run.run_id) or _write_run(root, run, plan, voxels, lookup)
    for name, array in zip(("mean", "inv_std"), fit_statistics(root, plan), strict=True):
        write_atomic(root / f"{name}.npy", _npy(array))
    for result in results.values():
        del result["inputs"]
    files = {f"runs/{name}.npy": result.pop("sha256") for name, result in results.items()}
    for name in SMALL_FILES:
        files[name] = sha256(root / name)
    fitted = plan.training_volumes()
    manifest = Manifest(
        layout_version=LAYOUT_VERSION,
        fastbrain=__version__,
        tr=plan.tr,
        window=asdict(plan.window),
        units=plan.units,
        scale=STEP[plan.units],
        high_pass_s=plan.high_pass_s,
        filter=plan.filter.to_json(),
        shape=list(plan.grid.shape),
        kernel=list(plan.grid.kernel),
        stride=list(plan.grid.stride),
        n_tokens=plan.grid.n_tokens,
        patch_voxels=plan.grid.patch_voxels,
        grid=plan.grid.fingerprint(),
        root=_cohort_root(plan),
        fit={"runs": list(fitted), "n_volumes": sum(len(v) for v in fitted.values())},
        runs=results,
        files=files,
    )
    manifest.write(root)


def _write_run(
    root: Path,
    run: RunRecord,
    plan: StorePlan,
    voxels: npt.NDArray[np.int64],
    lookup: npt.NDArray[np.int64],
) -> dict[str, Any]:
    before = size_and_time(run.bold)
    inputs = identities(run.bold)
    volumes = load_volumes(run.bold, tr=run.tr)
    clean = clean_run(volumes, voxels, units=plan.units, high_pass_s=plan.high_pass_s)
    if size_and_time(run.bold) != before:
        raise CohortError(
            f"prepare_store: {run.bold} must not change while it is read, got a change. Resume "
            "when its own preprocessing is finished."
        )
    path = root / "runs" / f"{run.run_id}.npy"

    def write(file: Any) -> None:
        shape = (len(clean.values), *lookup.shape)
        header = {"descr": "<i2", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        # written volume by volume, so that the packed run is never in memory as a whole
        for volume in clean.values:
            padded = np.append(volume, np.int16(0))
            file.write(padded[lookup].astype("<i2", copy=False).data)

    write_atomic(path, write)
    result = {
        "source": run.bold.name,
        "source_bytes": before[0],
        "n_volumes": volumes.shape[0],
        "clipped": clean.clipped,
        "dead_voxels": clean.dead,
        "notes": [f"{note.field} {note.message}" for note in volumes.notes],
        "inputs": inputs,
        "sha256": sha256(path),
    }
    write_sealed(path.with_suffix(".json"), result)
    return result


def _lookup(grid: TokenGrid) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the brain voxels (V,) and the index of every patch element among them; V if none.

    ``append(values, 0)[lookup]`` equals ``grid.pack`` of the volume without building the volume,
    and a voxel in two overlapping patches is detrended once.
    """
    voxels, inverse = np.unique(grid.offsets[grid.patch_mask], return_inverse=True)
    lookup = np.full(grid.offsets.shape, voxels.size, dtype=np.int64)
    lookup[grid.patch_mask] = inverse.reshape(-1)
    return voxels, lookup


def _write_tables(root: Path, plan: StorePlan) -> None:
    grid = plan.grid

    def write(file: Any) -> None:
        np.savez(
            file,
            mask=grid.mask,
            kernel=np.array(grid.kernel),
            stride=np.array(grid.stride),
            kept=grid.kept,
            affine=plan.affine,
        )

    write_atomic(root / "grid.npz", write)
    write_trials_table(root / "trials.parquet", plan.trials)
    write_json(root / "split.json", plan.split.to_json())


def fit_statistics(
    root: Path, plan: StorePlan
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Compute mean and 1/std of every patch element over the volumes of training windows.

    Returns
    -------
    mean, inv_std : ndarray, (n_tokens, P) float32
        In store units; both 0 outside the mask and for constant voxels.
    """
    size = (plan.grid.n_tokens, plan.grid.patch_voxels)
    total, square, count = np.zeros(size), np.zeros(size), 0
    for run_id, rows in plan.training_volumes().items():
        path = root / "runs" / f"{run_id}.npy"
        stored = read_npy(path, where="fit_statistics", error=StoreError, dtype=np.int16, mmap=True)
        for t in rows:
            # sums of int16 are exact in float64, so their order does not change the result
            volume = stored[t].astype(np.float64)
            total += volume
            volume *= volume
            square += volume
        count += len(rows)
    scale = STEP[plan.units]
    mean = total / count
    std = scale * np.sqrt(np.maximum(square / count - mean**2, 0))
    alive = (std > _MIN_STD) & plan.grid.patch_mask
    inv_std = np.divide(1, std, out=np.zeros(size), where=alive)
    return np.where(alive, scale * mean, 0).astype(np.float32), inv_std.astype(np.float32)


def _cohort_root(plan: StorePlan) -> str:
    roots = {run.root for run in plan.runs if run.root is not None}
    # links are not resolved: the target of a link with a valid name may have an invalid one
    return os.path.abspath(roots.pop()) if len(roots) == 1 else ""


def _npy(array: npt.NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()
