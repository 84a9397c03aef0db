"""Plan a store that is prepared like another one: same grid, filter, windows and statistics.

Such a store holds new recordings for a trained model: nothing is fitted on it, all its trials are
test trials, and events need no text.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Literal

from ..._arguments import checked
from ..._progress import say
from ...errors import CohortError, InputError, some
from ..readers.bids import tell
from ..readers.columns import tell_unused
from ..readers.entities import entities
from ..readers.events import Trial, read_trials
from ..readers.runs_table import RunRecord
from ..readers.sidecars import AGREE_S, Clock, Sidecar, clock_of, read_sidecar
from ..readers.tree import Tree
from .decoded_plan import decoded_plan
from .denoising.drifts import drift_basis
from .fixed_windows import check_tr, fixed_windows, header_on_grid
from .image_space import check_space
from .plan import StorePlan
from .planning import check_names
from .planning_betas import plan_betas_like
from .planning_denoising import (
    nuisance_of,
    read_cohort_confounds,
    refuse_without_confounds,
    without_censored,
)
from .preparation import start_times
from .store import VoxelStore


@checked
def plan_like(
    runs: Sequence[RunRecord],
    like: VoxelStore,
    *,
    ignore: tuple[str, ...] = (),
    late: Literal["error", "drop"] = "error",
    every: int | None = None,
) -> StorePlan:
    """Plan a store of new recordings for a model that was trained on another store.

    Parameters
    ----------
    runs : sequence of RunRecord
        Runs on another grid in the same space are resampled.
    like : VoxelStore
        Store of training, or its preparation in a run folder.
    ignore, late
        As in :func:`fastbrain.data.plan_store`.
    every : int, optional
        Volumes from one window to the next, for runs without events. The onset of such a window is
        that of a stimulus with a response that begins with its first volume.

    Raises
    ------
    FastbrainError
        As in :func:`fastbrain.data.plan_store`, or a run has another repetition time than `like`;
        the message names the run.
    """
    if not runs:
        raise InputError("plan_like: runs must hold at least one run, got none.")
    if every is not None and every < 1:
        raise InputError(f"plan_like: every must be 1 or more volumes, got {every}.")
    check_names(runs)
    check_space(runs, like, function="plan_like")
    if like.info.beta_divisor is not None:
        if every is not None:
            raise InputError(
                "plan_like: every must be None for a model of betas, which reads the beta of each "
                f"trial, got {every}."
            )
        return plan_betas_like(runs, like, ignore=ignore)
    headers = tuple(header_on_grid(run, like) for run in runs)
    _tell_other_starts(runs, like)
    if like.denoising is not None:
        refuse_without_confounds(runs, strategy_of="the store of training")
    cohort = read_cohort_confounds(runs, headers, like.denoising)
    trials: list[Trial] = []
    dropped: list[str] = []
    unused: Counter[str] = Counter()
    for run, volumes in zip(runs, headers, strict=True):
        check_tr(run, volumes, like.tr, function="plan_like")
        try:
            drift_basis(volumes.shape[0], like.tr, like.info.high_pass_s)
        except InputError as error:
            raise CohortError(f"plan_like: {run.bold} must be long enough: {error}") from error
        if every is not None:
            trials += fixed_windows(
                *(run, like.window_spec), tr=like.tr, n_volumes=volumes.shape[0], every=every
            )
            continue
        trials += read_trials(
            *(run, like.window_spec),
            tr=like.tr,
            n_volumes=volumes.shape[0],
            ignore=ignore,
            dropped=dropped if late == "drop" else None,
            unused=unused,
            need_text=False,
        )
    tell_unused(unused, len(runs))
    trials, censored_trials = without_censored(trials, cohort.confounds, like.denoising)
    return replace(
        decoded_plan(runs, headers, trials, like),
        dropped=tuple(dropped),
        denoising=like.denoising,
        nuisance=nuisance_of(cohort, tr=like.tr, high_pass_s=like.info.high_pass_s),
        censored_trials=tuple(censored_trials),
    )


def _tell_other_starts(runs: Sequence[RunRecord], like: VoxelStore) -> None:
    """Print a note if runs start at 0 s, which may be for want of a time, and training did not."""
    trained = start_times(like)
    at_zero = [run.run_id for run in runs if run.start_time == 0]
    if not at_zero or not trained or 0 in trained:
        return
    low, high = f"{trained[0]:g}", f"{trained[-1]:g}"
    say(
        f"note: the training runs started at {low if low == high else f'{low} to {high}'} s, and "
        f"{some(at_zero)} at 0 s: if that is wrong, state StartTime in the sidecar, or start_time "
        "in the runs table"
    )


@checked
def scan_records(
    bold: Sequence[str | Path],
    events: Sequence[str | Path] = (),
    *,
    subject: str = "",
    tr: float | None = None,
    named: bool = True,
) -> tuple[RunRecord, ...]:
    """Make records of scans that are named one by one.

    Subject, session and run come from BIDS names, the repetition time and start from a sidecar in
    the same folder; without one, the first volume is taken to be at 0 s, and that is printed.

    Parameters
    ----------
    bold : sequence of str or Path
    events : sequence of str or Path
        One table for each scan, in the same order, or none at all.
    subject : str
        Label of the subject, for names without one.
    tr : float, optional
        Repetition time in seconds, for images that do not state it.
    named : bool
        Whether the user has named the files, which the note then names; else nothing is printed.

    Raises
    ------
    CohortError
        A scan is named twice, the numbers of scans and tables differ, or a sidecar is invalid or
        states another repetition time than `tr`.
    """
    images, tables = [Path(path) for path in bold], [Path(path) for path in events]
    if not images or (tables and len(tables) != len(images)):
        raise CohortError(
            f"scan_records: events must be one table for each scan, or none, got {len(images)} "
            f"scans and {len(tables)} tables."
        )
    if len({path.resolve() for path in images}) < len(images):
        raise CohortError("scan_records: bold must name each scan once, got one twice.")
    records: list[RunRecord] = []
    clocks: list[Clock] = []
    without: list[Path] = []
    for i, image in enumerate(images):
        tags = entities(image)
        sidecar = read_sidecar(Tree(image.parent), image, tags)
        clock = clock_of(sidecar)
        clocks.append(clock)
        if not sidecar.sources:
            without.append(image)
        name = re.sub(r"[^A-Za-z0-9_-]+", "-", image.name.split(".nii")[0]) or "scan"
        used = {record.run_id for record in records}
        if name in used:
            name = next(n for k in count(2) if (n := f"{name}_{k}") not in used)
        records.append(
            RunRecord(
                run_id=name,
                subject=subject.removeprefix("sub-") or tags.get("sub", ""),
                session=tags.get("ses", ""),
                run=tags.get("run", str(i + 1)),
                bold=image,
                events=tables[i] if tables else None,
                tr=_given_tr(sidecar, clock, tr),
                start_time=clock.start_time or 0.0,
                instruction=sidecar.words("instruction"),
                prompt=sidecar.words("prompt"),
            )
        )
    tell(clocks)
    if without and named:
        say(
            f"note: no sidecar beside {some(without)}: "
            f"{'its' if len(without) == 1 else 'each'} first volume is taken to be at 0 s"
        )
    return tuple(records)


def _given_tr(sidecar: Sidecar, clock: Clock, tr: float | None) -> float | None:
    """Return the repetition time that is given, or that of the sidecar; raises if they differ."""
    if tr is None or clock.tr is None:
        return clock.tr if tr is None else tr
    if abs(tr - clock.tr) > AGREE_S:
        raise CohortError(
            f"scan_records: tr of {sidecar.image} must be that of its sidecar, {clock.tr:g} s, got "
            f"{tr:g} s. Leave --tr (tr=) out, or correct the sidecar."
        )
    return tr
