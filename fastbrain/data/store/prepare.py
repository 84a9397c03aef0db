"""Convert a cohort into a voxel store; resumable, because every file is complete or absent."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ... import __version__
from ..._arguments import checked
from ..._environment import check_environment
from ..._io import new_output, sha256, write_atomic, write_json
from ..._lock import hold
from ..._progress import say, track
from ...grid import Triple
from ..readers.events import Trial
from ..readers.runs_table import RunRecord
from ..readers.trial_windows import WindowSpec
from ..splits.split import Split
from .convert import Packing, convert_run, npy_bytes, read_mean_image
from .denoising.strategy import Denoising
from .detrend import STEP, Units
from .exclusion import Exclusion
from .highpass import HighPass
from .manifest import LAYOUT_VERSION, MANIFEST, SMALL_FILES, Manifest
from .plan import StorePlan
from .planning import plan_store
from .quality import QUALITY, quality_table
from .resume import LOCK, check_finished, claim, finished_runs
from .statistics import fit_statistics, statistics_of
from .store import VoxelStore, write_grid
from .trials_table import write_trials_table
from .window_limits import correlation


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
    denoising: Denoising | None = None,
    exclude: Exclusion | None = None,
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
    denoising : Denoising, optional
        Confounds to regress out of every run, and volumes to censor.
    exclude : Exclusion, optional
        Limits above which a run is left out, and runs left out by name; the store lists them.

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
        denoising=denoising,
        exclude=exclude,
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
    packing = Packing(plan.grid)
    results: dict[str, dict[str, Any]] = {}
    for run in track(plan.runs, "preparing runs"):
        results[run.run_id] = done.get(run.run_id) or convert_run(root, run, plan, packing)

    def image_of(run_id: str) -> npt.NDArray[np.float32]:
        return read_mean_image(root, run_id, plan.grid)

    like = plan.reference
    found = fit_statistics(root, plan, image_of) if like is None else statistics_of(like)
    for name in ("mean", "inv_std", "mean_image"):
        write_atomic(root / f"{name}.npy", npy_bytes(getattr(found, name)))
    files = {f"runs/{name}.npy": result.pop("sha256") for name, result in results.items()}
    alive = found.inv_std > 0
    for name, result in results.items():
        del result["inputs"], result["mean_image"]
        shared = correlation(image_of(name)[alive], found.mean_image[alive])
        result["image_correlation"] = round(shared, 4)
    for name in SMALL_FILES:
        files[name] = sha256(root / name)
    fitted = plan.training_volumes()
    fit = {"runs": list(fitted), "n_volumes": sum(len(v) for v in fitted.values())}
    manifest = Manifest(
        layout_version=LAYOUT_VERSION,
        fastbrain=__version__,
        tr=plan.tr,
        window=asdict(plan.window),
        units=plan.units,
        scale=STEP[plan.units],
        high_pass_s=plan.high_pass_s,
        filter=plan.filter.to_json(),
        limits=found.limits.to_json(),
        denoising=None if plan.denoising is None else plan.denoising.to_json(),
        excluded=dict(plan.excluded),
        shape=list(plan.grid.shape),
        kernel=list(plan.grid.kernel),
        stride=list(plan.grid.stride),
        n_tokens=plan.grid.n_tokens,
        patch_voxels=plan.grid.patch_voxels,
        grid=plan.grid.fingerprint(),
        root=_cohort_root(plan),
        fit=fit if like is None else like.info.fit,
        runs=results,
        files=files,
    )
    write_atomic(root / QUALITY, quality_table(manifest.runs, plan.runs, plan.excluded))
    manifest.write(root)


def _write_tables(root: Path, plan: StorePlan) -> None:
    write_grid(root / "grid.npz", plan.grid, plan.affine)
    write_trials_table(root / "trials.parquet", plan.trials)
    write_json(root / "split.json", plan.split.to_json())


def _cohort_root(plan: StorePlan) -> str:
    roots = {run.root for run in plan.runs if run.root is not None}
    # links are not resolved: the target of a link with a valid name may have an invalid one
    return os.path.abspath(roots.pop()) if len(roots) == 1 else ""
