"""Plan a store of single-trial betas, as GLMsingle and NSD give them: one volume for each trial."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy.typing as npt

from ..._arguments import checked
from ...errors import CohortError, InputError, SplitError
from ...grid import TokenGrid, Triple
from ..readers.betas import BETA_TR_S, BETA_WINDOW, load_betas, read_beta_trials
from ..readers.columns import tell_unused
from ..readers.events import Trial
from ..readers.runs_table import RunRecord
from ..readers.smooth import check_smoothing
from ..readers.volumes import Volumes
from ..splits.split import Split, made_split
from .choose_highpass import choose_filter
from .cohort_mask import brain_mask
from .common_grid import check_kernel, on_one_grid
from .decoded_plan import decoded_plan
from .detrend import STEP, Units
from .inputs import check_texts
from .plan import StorePlan
from .planning import check_names
from .store import VoxelStore
from .target_grid import TargetGrid, grid_of_store


@checked
def plan_betas(
    runs: Sequence[RunRecord],
    *,
    kernel: Triple,
    split: Split | Callable[[list[Trial]], Split],
    divisor: float = 1.0,
    mask: str | Path | npt.NDArray[Any] | None = None,
    units: Units = "psc",
    min_voxels: int = 1,
    smoothing_mm: float | None = None,
    resample: str | Path | TargetGrid | None = None,
    ignore: tuple[str, ...] = (),
) -> StorePlan:
    """Check betas of single trials and plan their store; nothing is written.

    A window is one volume, the beta of its trial; nothing is filtered. Mean and standard deviation
    of the store are computed from training trials only.

    Parameters
    ----------
    runs : sequence of RunRecord
        `bold` is a file of betas (:func:`fastbrain.data.load_betas`), usually of one session, and
        `events` its table of trials (:func:`fastbrain.data.read_beta_trials`).
    kernel, split, mask, min_voxels, smoothing_mm, resample, ignore
        As in :func:`fastbrain.data.plan_store`; every run needs a mask, or `mask` is given.
    divisor : float
        Stored units per percent signal change; 300 for the int16 files of NSD.
    units : str
        ``"psc"``, percent as they are, or ``"zscore"``, standardised over the trials of each file,
        which removes differences between sessions.

    Returns
    -------
    StorePlan
        For :func:`fastbrain.data.write_store`.

    Raises
    ------
    FastbrainError
        As in :func:`fastbrain.data.plan_store`; the message names the run.
    """
    if not runs:
        raise InputError("plan_betas: runs must hold at least one run, got none.")
    if units not in STEP:
        raise InputError(f"plan_betas: units must be one of {sorted(STEP)}, got {units!r}.")
    check_names(runs)
    check_smoothing(smoothing_mm)
    unmasked = [run.run_id for run in runs if run.mask is None]
    if mask is None and unmasked:
        raise CohortError(
            f"plan_betas: {unmasked[0]} must have a brain mask, got none: betas do not show where "
            "the brain is. Add the column mask, or give one mask for all (--mask)."
        )
    given = Path(mask) if isinstance(mask, (str, Path)) else None
    runs = tuple(replace(run, start_time=0.0, tr=None, mask=run.mask or given) for run in runs)
    opened = tuple(_opened(run, divisor) for run in runs)
    headers, target = on_one_grid(runs, opened, resample)
    trials = _trials(runs, headers, ignore=ignore)
    parts = made_split(split, trials, function="plan_betas")
    if len(parts.train) < 2:
        raise SplitError(
            "plan_betas: split must have two training trials or more, got "
            f"{len(parts.train)}. Statistics are computed from them."
        )
    check_texts(runs, trials)
    check_kernel(kernel, target.shape)
    brain = brain_mask(runs, headers, mask, target)
    return StorePlan(
        runs=runs,
        headers=headers,
        trials=trials,
        split=parts,
        grid=TokenGrid.from_mask(brain, kernel, min_voxels=min_voxels),
        affine=target.affine,
        tr=BETA_TR_S,
        window=BETA_WINDOW,
        units=units,
        filter=choose_filter(
            None,
            [],
            lengths={run.run_id: v.shape[0] for run, v in zip(runs, headers, strict=True)},
            tr=BETA_TR_S,
            window=BETA_WINDOW,
        ),
        resampled=target.name_for(headers),
        smoothing_mm=smoothing_mm,
        beta_divisor=divisor,
    )


def plan_betas_like(
    runs: Sequence[RunRecord], like: VoxelStore, *, ignore: tuple[str, ...] = ()
) -> StorePlan:
    """Plan a store of new betas for a model that was trained on betas; see :func:`plan_like`."""
    divisor = like.info.beta_divisor
    assert divisor is not None
    runs = tuple(replace(run, start_time=0.0, tr=None) for run in runs)
    opened = [_opened(run, divisor) for run in runs]
    headers = grid_of_store(like).headers(opened)
    trials = _trials(runs, headers, ignore=ignore, need_text=False)
    return decoded_plan(runs, headers, trials, like)


def _opened(run: RunRecord, divisor: float) -> Volumes:
    return load_betas(run.bold, divisor=divisor, grid_of=run.mask, dataset=run.dataset)


def _trials(
    runs: Sequence[RunRecord],
    headers: Sequence[Volumes],
    *,
    ignore: tuple[str, ...],
    need_text: bool = True,
) -> list[Trial]:
    unused: Counter[str] = Counter()
    found = [
        trial
        for run, volumes in zip(runs, headers, strict=True)
        for trial in read_beta_trials(
            run, volumes.shape[0], ignore=ignore, need_text=need_text, unused=unused
        )
    ]
    tell_unused(unused, len(runs))
    return found
