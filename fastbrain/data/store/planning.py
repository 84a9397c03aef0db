"""Check a cohort and plan its store before the first voxel is converted."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy.typing as npt

from ..._arguments import checked
from ...errors import InputError, SplitError
from ...grid import TokenGrid, Triple
from ..readers.columns import tell_unused
from ..readers.events import Trial, read_trials
from ..readers.runs_table import RunRecord, check_unique
from ..readers.smooth import check_smoothing
from ..readers.trial_windows import WindowSpec
from ..readers.volumes import Volumes
from ..splits.split import Split, made_split
from .choose_highpass import check_high_pass, choose_filter
from .cohort_mask import brain_mask
from .common_grid import check_kernel, open_runs
from .denoising.drifts import drift_basis
from .denoising.strategy import Denoising
from .detrend import STEP, Units
from .exclusion import Exclusion, named_out
from .highpass import HighPass
from .inputs import check_texts, check_trials
from .plan import StorePlan
from .planning_denoising import (
    nuisance_of,
    read_cohort_confounds,
    restricted,
    without_censored,
)
from .planning_layout import layout_for
from .target_grid import TargetGrid
from .token_layouts import LayoutSpec


@checked
def plan_store(
    runs: Sequence[RunRecord],
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
    resample: str | Path | TargetGrid | None = None,
    ignore: tuple[str, ...] = (),
    late: Literal["error", "drop"] = "error",
    trials: Sequence[Trial] | None = None,
    denoising: Denoising | None = None,
    exclude: Exclusion | None = None,
    layout: LayoutSpec | None = None,
) -> StorePlan:
    """Check a whole cohort and plan its store; nothing is written.

    Parameters are those of :func:`fastbrain.data.prepare_store`, and `trials` for trials that do
    not come from the events files (:class:`fastbrain.data.Study`). Voxels are read only if a mask
    has to be computed.

    Raises
    ------
    FastbrainError
        As in :func:`fastbrain.data.prepare_store`; the message names the run.
    """
    if units not in STEP:
        raise InputError(f"plan_store: units must be one of {sorted(STEP)}, got {units!r}.")
    if not runs:
        raise InputError("plan_store: runs must hold at least one run, got none.")
    check_names(runs)
    check_smoothing(smoothing_mm)
    runs, excluded = named_out(runs, exclude)
    headers, target = open_runs(runs, resample)
    first = headers[0]
    cohort = read_cohort_confounds(runs, headers, denoising, exclude)
    runs, headers, excluded = cohort.runs, cohort.headers, excluded | cohort.excluded
    for n in sorted({v.shape[0] for v in headers}):
        drift_basis(n, first.tr, check_high_pass(high_pass_s))
    lengths = {run.run_id: v.shape[0] for run, v in zip(runs, headers, strict=True)}
    dropped: list[str] = []
    if trials is None:
        known = read_cohort(
            runs, headers, window, ignore=ignore, dropped=dropped if late == "drop" else None
        )
    else:
        known = [t for t in trials if t.run_id not in excluded]
        check_trials(known, runs, lengths, tr=first.tr, window=window)
    known, censored_trials = without_censored(known, cohort.confounds, denoising)
    if isinstance(split, Split):
        split = restricted(split, censored_trials, excluded)
    parts = made_split(split, known, function="plan_store")
    check_fitted(parts, known, function="plan_store")
    check_texts(runs, known)
    chosen = set(parts.train)
    drift_filter = choose_filter(
        high_pass_s,
        [t for t in known if t.trial_id in chosen],
        lengths=lengths,
        tr=first.tr,
        window=window,
        confounds=cohort.confounds,
        starts={run.run_id: run.start_time for run in runs},
    )
    nuisance = nuisance_of(cohort, tr=first.tr, high_pass_s=drift_filter.high_pass_s)
    grid: TokenGrid | None = layout_for(
        *(runs, headers, layout), mask=mask, smoothing_mm=smoothing_mm, resample=resample
    )
    if grid is None:
        check_kernel(kernel, target.shape)
        brain = brain_mask(runs, headers, mask, target)
        grid = TokenGrid.from_mask(brain, kernel, stride, min_voxels=min_voxels)
    return StorePlan(
        runs=tuple(runs),
        headers=headers,
        trials=known,
        split=parts,
        grid=grid,
        affine=target.affine,
        tr=first.tr,
        window=window,
        units=units,
        filter=drift_filter,
        dropped=tuple(dropped),
        smoothing_mm=smoothing_mm,
        resampled=target.name_for(headers),
        denoising=denoising,
        nuisance=nuisance,
        censored_trials=tuple(censored_trials),
        excluded=excluded,
        exclude=exclude,
    )


def check_fitted(split: Split, trials: Sequence[Trial], *, function: str) -> None:
    """Raise unless the training windows cover two volumes, from which statistics are computed.

    Raises
    ------
    SplitError
    """
    if not split.train:
        raise SplitError(
            f"{function}: split must have training trials, got none. Statistics are computed from "
            "them; a store to decode takes those of a trained model (prepare --like RUN)."
        )
    chosen = set(split.train)
    windows = {(t.run_id, t.start): t.frames for t in trials if t.trial_id in chosen}
    if sum(windows.values()) < 2:
        raise SplitError(
            f"{function}: training windows must cover two volumes or more, got one. The spread of "
            "a voxel is computed from them: take more trials for training."
        )


def read_cohort(
    runs: Sequence[RunRecord],
    headers: Sequence[Volumes],
    window: WindowSpec,
    *,
    ignore: tuple[str, ...],
    dropped: list[str] | None,
) -> list[Trial]:
    """Read the trials of all runs; see :func:`fastbrain.data.read_trials`."""
    unused: Counter[str] = Counter()
    known = [
        trial
        for run, volumes in zip(runs, headers, strict=True)
        for trial in read_trials(
            *(run, window),
            tr=headers[0].tr,
            n_volumes=volumes.shape[0],
            ignore=ignore,
            dropped=dropped,
            unused=unused,
        )
    ]
    tell_unused(unused, len(runs))
    return known


def check_names(runs: Sequence[RunRecord]) -> None:
    """Raise for run ids that are used twice or cannot be file names."""
    check_unique(Path("runs"), runs)
    for run in runs:
        # the run id is used as a file name
        if not re.fullmatch(r"[A-Za-z0-9_-]+", run.run_id):
            raise InputError(
                f"plan_store: run_id must be letters, digits, '-' and '_', got {run.run_id!r}."
            )
