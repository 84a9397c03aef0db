"""Check a cohort and plan its store before the first voxel is converted."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy.typing as npt

from ..._arguments import checked
from ...errors import CohortError, InputError, SplitError
from ...grid import TokenGrid, Triple
from ..readers.columns import tell_unused
from ..readers.events import Trial, read_trials
from ..readers.masks import same_affine
from ..readers.runs_table import RunRecord, check_unique
from ..readers.smooth import check_smoothing
from ..readers.trial_windows import WindowSpec
from ..readers.volumes import Volumes, load_volumes
from ..splits.split import Split
from .choose_highpass import check_high_pass, choose_filter
from .cohort_mask import brain_mask
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
from .target_grid import TargetGrid, target_grid

TR_TOLERANCE_S = 1e-3


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
    parts = split if isinstance(split, Split) else split(known)
    if isinstance(split, Split):
        parts = restricted(split, censored_trials, excluded)
    if not isinstance(parts, Split):
        raise CohortError(
            f"plan_store: split must give a Split, got {type(parts).__name__}. Return that of "
            "split_by or another split function."
        )
    parts.check(known)
    if not parts.train:
        raise SplitError(
            "plan_store: split must have training trials, got none. Statistics are computed from "
            "them; a store to decode takes those of a trained model (prepare --like RUN)."
        )
    check_texts(runs, known)
    chosen = set(parts.train)
    if len({(t.run_id, t.start) for t in known if t.trial_id in chosen}) * window.window_trs < 2:
        raise SplitError(
            "plan_store: training windows must cover two volumes or more, got one. The spread of a "
            "voxel is computed from them: take more trials for training."
        )
    drift_filter = choose_filter(
        high_pass_s,
        [t for t in known if t.trial_id in chosen],
        lengths=lengths,
        tr=first.tr,
        window=window,
        confounds=cohort.confounds,
    )
    nuisance = nuisance_of(cohort, tr=first.tr, high_pass_s=drift_filter.high_pass_s)
    check_kernel(kernel, target.shape)
    brain = brain_mask(runs, headers, mask, target)
    return StorePlan(
        runs=tuple(runs),
        headers=headers,
        trials=known,
        split=parts,
        grid=TokenGrid.from_mask(brain, kernel, stride, min_voxels=min_voxels),
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


def open_runs(
    runs: Sequence[RunRecord], resample: str | Path | TargetGrid | None
) -> tuple[tuple[Volumes, ...], TargetGrid]:
    """Open the headers of a cohort and find its grid.

    Parameters
    ----------
    runs : sequence of RunRecord
    resample : str, Path, TargetGrid or None
        Grid that runs are resampled to; None: they must share one.

    Raises
    ------
    CohortError
        The runs differ in repetition time, or in grid without `resample`.
    """
    headers = tuple(load_volumes(run.bold, tr=run.tr) for run in runs)
    return on_one_grid(runs, headers, resample)


def on_one_grid(
    runs: Sequence[RunRecord],
    headers: tuple[Volumes, ...],
    resample: str | Path | TargetGrid | None,
) -> tuple[tuple[Volumes, ...], TargetGrid]:
    """Check the headers of a cohort and find its grid; see :func:`open_runs`."""
    check_same_grid(runs, headers, resampled=resample is not None)
    target = (
        resample
        if isinstance(resample, TargetGrid)
        else target_grid("first" if resample is None else resample, headers)
    )
    return headers if resample is None else target.headers(headers), target


def check_same_grid(
    runs: Sequence[RunRecord], headers: tuple[Volumes, ...], *, resampled: bool = False
) -> None:
    """Raise unless all runs share the repetition time, and shape and affine if not `resampled`."""
    first, space = headers[0], headers[0].shape[1:]
    for run, v in zip(runs, headers, strict=True):
        if v.shape[1:] != space and not resampled:
            what = f"the shape (Z, Y, X) {space}, got {v.shape[1:]}"
        elif not resampled and not same_affine(v.affine, first.affine, space):
            what = "the affine within 0.1 mm over the volume, got another one"
        elif abs(v.tr - first.tr) > TR_TOLERANCE_S:
            raise CohortError(
                f"plan_store: {run.run_id} ({run.bold}) must share with {runs[0].run_id} the "
                f"repetition time {first.tr:g} s, got {v.tr:g} s. Prepare them apart."
            )
        elif run.n_volumes not in (None, v.shape[0]):
            raise CohortError(
                f"plan_store: {run.bold} must have {run.n_volumes} volumes, as VolumeTiming of its "
                f"sidecar or its runs table says, got {v.shape[0]}. Correct that."
            )
        else:
            continue
        raise CohortError(
            f"plan_store: {run.run_id} ({run.bold}) must share with {runs[0].run_id} {what}. "
            "Where both are in one space, resample them (--resample first, or mni:2); else bring "
            "all runs into one (fMRIPrep --output-spaces), or keep the grid of each person "
            "(--native-grids)."
        )


def check_kernel(kernel: Triple, space: tuple[int, int, int]) -> None:
    """Raise for a patch that does not fit into the volumes."""
    if any(k > size for k, size in zip(kernel, space, strict=True)):
        raise InputError(
            f"plan_store: kernel must fit into the volumes, (Z, Y, X) {space}, got {kernel}. Give "
            "a smaller patch."
        )
