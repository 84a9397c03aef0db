"""Plan a store of recordings without events: rest, or a task of which the events are not used.

Its windows follow each other at a fixed step and have no texts, so it serves the pretraining of the
fMRI encoder and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt

from ..._arguments import checked
from ...errors import CohortError, InputError
from ...grid import TokenGrid, Triple
from ..readers.events import Trial
from ..readers.runs_table import RunRecord
from ..readers.smooth import check_smoothing
from ..readers.trial_windows import WindowSpec
from ..splits.split import Split, made_split
from .choose_highpass import check_high_pass, choose_filter
from .cohort_mask import brain_mask
from .common_grid import check_kernel, open_runs
from .denoising.drifts import drift_basis
from .denoising.strategy import Denoising
from .detrend import STEP, Units
from .exclusion import Exclusion, named_out
from .fixed_windows import check_tr, fixed_windows, header_on_grid
from .highpass import USUAL_S, HighPass
from .image_space import check_space
from .inputs import check_texts
from .plan import StorePlan
from .planning import check_fitted, check_names
from .planning_denoising import nuisance_of, read_cohort_confounds, without_censored
from .planning_layout import layout_for
from .store import VoxelStore
from .target_grid import TargetGrid, grid_of_store
from .token_centers import origin_of
from .token_layouts import LayoutSpec


@checked
def plan_rest(
    runs: Sequence[RunRecord],
    *,
    split: Callable[[list[Trial]], Split],
    window_trs: int = 4,
    every: int | None = None,
    kernel: Triple = (4, 4, 4),
    mask: str | Path | npt.NDArray[Any] | None = None,
    units: Units = "psc",
    high_pass_s: HighPass = "auto",
    smoothing_mm: float | None = None,
    resample: str | Path | TargetGrid | None = None,
    grid_of: VoxelStore | None = None,
    denoising: Denoising | None = None,
    exclude: Exclusion | None = None,
    layout: LayoutSpec | None = None,
) -> StorePlan:
    """Plan a store of runs without events, for the pretraining of the fMRI encoder.

    Parameters
    ----------
    runs : sequence of RunRecord
        Their events tables, if any, are not read.
    split : callable
        Function that makes the split from the windows: by run, session or subject. Its test part
        may be empty.
    window_trs : int
        Volumes in a window.
    every : int, optional
        Volumes from one window to the next; default: `window_trs`, windows without overlap.
    kernel, mask, units, smoothing_mm, resample, layout
        As in :func:`fastbrain.data.prepare_store`.
    high_pass_s : float, None or "auto"
        "auto" is 128 s: there are no events that a filter could remove.
    denoising, exclude
        As in :func:`fastbrain.data.prepare_store`.
    grid_of : VoxelStore, optional
        Store that gives grid, length of windows, units, smoothing, filter and denoising in place of
        these arguments, so that one encoder reads both. Runs on another grid in the same space are
        resampled.
        Mean and standard deviation are those of the new store's own training windows.

    Returns
    -------
    StorePlan
        For :func:`fastbrain.data.write_store`.

    Raises
    ------
    FastbrainError
        As in :func:`fastbrain.data.plan_store`, or a run has another repetition time than
        `grid_of`; the message names the run.
    """
    if not runs:
        raise InputError("plan_rest: runs must hold at least one run, got none.")
    if grid_of is not None:
        window_trs, units = grid_of.window_spec.window_trs, grid_of.units
        high_pass_s, smoothing_mm = grid_of.info.high_pass_s, grid_of.info.smoothing_mm
        resample, denoising = None, grid_of.denoising
    every = window_trs if every is None else every
    if units not in STEP or every < 1:
        raise InputError(
            f"plan_rest: units must be one of {sorted(STEP)} and every 1 or more volumes, got "
            f"{units!r} and {every}."
        )
    check_names(runs)
    check_smoothing(smoothing_mm)
    runs, excluded = named_out(runs, exclude)
    spec = WindowSpec(0.0, window_trs)
    period = USUAL_S if high_pass_s == "auto" else check_high_pass(high_pass_s)
    if grid_of is None:
        headers, target = open_runs(runs, resample)
    else:
        check_space(runs, grid_of, function="plan_rest")
        target = grid_of_store(grid_of)
        headers = tuple(header_on_grid(run, grid_of) for run in runs)
    tr = headers[0].tr if grid_of is None else grid_of.tr
    cohort = read_cohort_confounds(runs, headers, denoising, exclude)
    runs, headers, excluded = cohort.runs, cohort.headers, excluded | cohort.excluded
    trials: list[Trial] = []
    for run, volumes in zip(runs, headers, strict=True):
        check_tr(run, volumes, tr, function="plan_rest")
        try:
            drift_basis(volumes.shape[0], tr, period)
        except InputError as error:
            raise CohortError(f"plan_rest: {run.bold} must be long enough: {error}") from error
        trials += fixed_windows(run, spec, tr=tr, n_volumes=volumes.shape[0], every=every)
    trials, censored_trials = without_censored(trials, cohort.confounds, denoising)
    parts = made_split(split, trials, function="plan_rest")
    check_fitted(parts, trials, function="plan_rest")
    check_texts(runs, trials)
    lengths = {run.run_id: v.shape[0] for run, v in zip(runs, headers, strict=True)}
    grid: TokenGrid | None
    if grid_of is None:
        grid = layout_for(
            *(runs, headers, layout), mask=mask, smoothing_mm=smoothing_mm, resample=resample
        )
        if grid is None:
            check_kernel(kernel, target.shape)
            grid = TokenGrid.from_mask(brain_mask(runs, headers, mask, target), kernel)
    else:
        grid = grid_of.grid
    return StorePlan(
        runs=tuple(runs),
        headers=headers,
        trials=trials,
        split=parts,
        grid=grid,
        affine=target.affine,
        tr=tr,
        window=spec,
        units=units,
        filter=choose_filter(period, [], lengths=lengths, tr=tr, window=spec),
        resampled=target.name_for(headers),
        smoothing_mm=smoothing_mm,
        origin_mm=(0.0, 0.0, 0.0) if grid_of is None else origin_of(grid_of),
        denoising=denoising,
        nuisance=nuisance_of(cohort, tr=tr, high_pass_s=period),
        censored_trials=tuple(censored_trials),
        excluded=excluded,
        exclude=exclude,
    )
