"""Convert a cohort into a voxel store; resumable, because every file is complete or absent."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy.typing as npt

from ... import __version__
from ..._arguments import checked
from ..._environment import check_environment
from ..._io import new_output, write_atomic, write_json
from ..._jobs import check_jobs, run_jobs
from ..._lock import hold
from ..._progress import say, track
from ...errors import StoreError
from ...grid import Triple
from ..readers.events import Trial
from ..readers.runs_table import RunRecord
from ..readers.trial_windows import WindowSpec
from ..splits.split import Split, by_run
from .convert import Conversion, RunTask, convert_run, read_mean_image
from .denoising.strategy import Denoising
from .detrend import STEP, Units
from .exclusion import Exclusion
from .finish import write_statistics
from .grid_file import write_grid
from .highpass import HighPass
from .manifest import LAYOUT_VERSION, MANIFEST, Manifest
from .measured_exclusion import without_measured
from .plan import StorePlan
from .planning import plan_store
from .quality import QUALITY, quality_table
from .resume import LOCK, check_finished, claim, finished_runs, marks_folder
from .statistics import fit_statistics, read_run, statistics_of
from .store import VoxelStore
from .stored_steps import StoredType
from .token_layouts import LayoutSpec
from .trials_table import write_trials_table


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
    smoothing_mm: float | None = None,
    resample: str | Path | None = None,
    ignore: tuple[str, ...] = (),
    late: Literal["error", "drop"] = "error",
    resume: bool = False,
    dtype: StoredType = "int16",
    n_jobs: int = 1,
    dask: str | None = None,
    denoising: Denoising | None = None,
    exclude: Exclusion | None = None,
    layout: LayoutSpec | None = None,
) -> VoxelStore:
    """Convert a cohort into a voxel store.

    All headers, events, masks and the split are checked before any voxel is converted. Each run
    is detrended separately; mean and standard deviation are computed only from the volumes that
    training windows cover.

    Parameters
    ----------
    runs : sequence of RunRecord
        All on one voxel grid (else see `resample`), with one repetition time.
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
    smoothing_mm : float, optional
        Full width at half maximum of a Gaussian that smooths every volume first, mm.
    resample : str or Path, optional
        Grid that runs on other grids in the same space are interpolated to: ``"first"``,
        ``"mni:2"``, a store or an image; see :func:`fastbrain.data.store.target_grid.target_grid`.
        Masks take the nearest voxel and are intersected. Default: runs must share a grid.
    ignore : tuple of str
        Trial types or texts that are not trials.
    late : {"error", "drop"}
        What happens to a trial with a window that leaves the run; dropped ones are listed.
    resume : bool
        Whether to continue an interrupted preparation with the same settings and images.
    dtype : {"int16", "int8"}
        Stored integers. int8 takes half the space, with a scale for each run; windows are int16 in
        both.
    n_jobs : int
        Number of runs converted at a time, in processes of this machine; -1 means one a core. The
        bytes of the store do not depend on it.
    dask : str, optional
        Address of the scheduler of a dask cluster that converts the runs instead, for example
        ``"tcp://10.0.0.1:8786"``. Its workers must see images and `out` under the same paths.
    denoising : Denoising, optional
        Confounds to regress out of every run, and volumes to censor.
    exclude : Exclusion, optional
        Limits above which a run is left out, and runs left out by name; the store lists them.
    layout : LayoutSpec, optional
        Tokens of surfaces; `kernel`, `stride` and `min_voxels` are those of volumes. Default:
        neighbourhoods on the mesh. Parcels (see :class:`RunRecord`) are one token each.

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
    ConfigError, MissingPartError
        The cluster cannot be reached, or dask is not installed.
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
        smoothing_mm=smoothing_mm,
        resample=resample,
        ignore=ignore,
        late=late,
        denoising=denoising,
        exclude=exclude,
        layout=layout,
    )
    plan = plan.stored_as(dtype)
    return write_store(plan, out, resume=resume, n_jobs=n_jobs, dask=dask)


@checked
def write_store(
    plan: StorePlan,
    out: str | Path,
    *,
    resume: bool = False,
    n_jobs: int = 1,
    dask: str | None = None,
) -> VoxelStore:
    """Execute a plan; see :func:`prepare_store`."""
    processes = check_jobs(n_jobs, "prepare_store")
    check_environment(out, needed_bytes=plan.nbytes - _written_bytes(out), function="prepare_store")
    root = new_output(out, resume=resume)
    with hold(root / LOCK, what="prepare_store"):
        claim(root, plan.settings(), resume=resume)
        if (root / MANIFEST).is_file():
            check_finished(root, plan.runs)
        else:
            _convert(root, plan, processes, dask)
    return VoxelStore.open(root)


def _written_bytes(out: str | Path) -> int:
    """Sum the sizes of the run files that an interrupted preparation has converted."""
    return sum(path.stat().st_size for path in Path(out).glob("runs/*.npy"))


def _convert(root: Path, plan: StorePlan, processes: int, dask: str | None) -> None:
    for note in plan.notes():
        say(f"note: {note}")
    done = finished_runs(root, plan.runs)
    # tables first, because they need no voxels and reveal write errors before the long work
    _write_tables(root, plan)
    left = [run for run in plan.runs if run.run_id not in done]
    converted = _converted(root, plan, left, processes, dask)
    done |= track(converted, "preparing runs", total=len(left))
    # in the order of the plan, whichever run was finished first
    results = {run.run_id: done[run.run_id] for run in plan.runs}
    plan, measured = without_measured(plan, results)
    if measured:
        for name in measured:
            say(f"note: run {name} is left out: {plan.excluded[name]}")
        results = {run.run_id: results[run.run_id] for run in plan.runs}
        _write_tables(root, plan)
    like, fitted = plan.reference, plan.training_volumes()
    if like is None:
        found = fit_statistics(
            partial(read_run, root, steps={k: v["step"] for k, v in results.items()}),
            partial(read_mean_image, root, grid=plan.grid),
            volumes=fitted,
            windows=plan.training_windows(),
            grid=plan.grid,
            units=plan.units,
            threads=processes,
        )
    else:
        found = statistics_of(like)
    runs, files = write_statistics(root, found, results, plan.grid)
    fit = {"runs": list(fitted), "n_volumes": sum(len(v) for v in fitted.values())}
    manifest = Manifest(
        layout_version=LAYOUT_VERSION,
        fastbrain=__version__,
        tr=plan.tr,
        window=asdict(plan.window),
        units=plan.units,
        dtype=plan.dtype,
        scale=STEP[plan.units],
        high_pass_s=plan.high_pass_s,
        filter=plan.filter.to_json(),
        limits=found.limits.to_json(),
        smoothing_mm=plan.smoothing_mm,
        resampled=plan.resampled,
        origin_mm=list(plan.origin_mm),
        beta_divisor=plan.beta_divisor,
        denoising=None if plan.denoising is None else plan.denoising.to_json(),
        excluded=dict(plan.excluded),
        excluded_quality=measured,
        geometry=plan.grid.geometry,
        space=plan.space.space,
        resolution=plan.space.resolution,
        shape=list(plan.grid.shape),
        kernel=list(plan.grid.kernel),
        stride=list(plan.grid.stride),
        n_tokens=plan.grid.n_tokens,
        patch_voxels=plan.grid.patch_voxels,
        grid=plan.grid.fingerprint(),
        root=_cohort_root(plan),
        fit=fit if like is None else like.info.fit,
        runs=runs,
        files=files,
    )
    write_atomic(root / QUALITY, quality_table(manifest))
    manifest.write(root)


def _converted(
    root: Path, plan: StorePlan, runs: Sequence[RunRecord], processes: int, dask: str | None
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Convert runs, here or in other processes; yield name and result of each when it is there."""
    how = Conversion.of(root, plan)
    trials = by_run(plan.trials)
    tasks = {run.run_id: RunTask(run, tuple(trials.get(run.run_id, ()))) for run in runs}
    if dask is None and min(processes, len(runs)) < 2:
        for name, task in tasks.items():
            yield name, convert_run(how, task)
        return
    with marks_folder(root) as marks:
        yield from run_jobs(
            partial(convert_run, how),
            tasks,
            n_jobs=processes,
            dask=dask,
            marks=marks,
            function="prepare_store",
            error=StoreError,
        )


def _write_tables(root: Path, plan: StorePlan) -> None:
    write_grid(root / "grid.npz", plan.grid, plan.affine)
    write_trials_table(root / "trials.parquet", plan.trials)
    write_json(root / "split.json", plan.split.to_json())


def _cohort_root(plan: StorePlan) -> str:
    roots = {run.root for run in plan.runs if run.root is not None}
    # links are not resolved: the target of a link with a valid name may have an invalid one
    return os.path.abspath(roots.pop()) if len(roots) == 1 else ""
