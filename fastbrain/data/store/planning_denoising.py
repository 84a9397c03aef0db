"""Confounds, censored volumes and excluded runs of a cohort, before its voxels are converted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..._progress import track
from ...errors import CohortError, InputError, some
from ..readers.events import Trial
from ..readers.runs_table import RunRecord
from ..readers.volumes import Volumes
from ..splits.split import Split
from .denoising.censoring import touches
from .denoising.projection import projection_of
from .denoising.strategy import Denoising
from .denoising.table import RunConfounds, RunNuisance, read_confounds_of
from .exclusion import Exclusion, beyond_limits


@dataclass(frozen=True, eq=False)
class DenoisedCohort:
    """Runs of a store, with their confounds.

    Parameters
    ----------
    runs : tuple of RunRecord
    headers : tuple of Volumes
    confounds : dict
        By run id; empty without a strategy.
    excluded : dict
        Reason by run id, of runs beyond a limit.
    """

    runs: tuple[RunRecord, ...]
    headers: tuple[Volumes, ...]
    confounds: dict[str, RunConfounds]
    excluded: dict[str, str]


def read_cohort_confounds(
    runs: Sequence[RunRecord],
    headers: Sequence[Volumes],
    strategy: Denoising | None,
    exclusion: Exclusion | None = None,
) -> DenoisedCohort:
    """Read the confounds that a strategy needs, and leave out the runs beyond the limits.

    Raises
    ------
    CohortError
        Runs have no confounds table (all are named), or share one; a table cannot be used, or no
        run is left.
    """
    confounds: dict[str, RunConfounds] = {}
    if strategy is not None or (exclusion is not None and exclusion.by_motion):
        _refuse_shared(runs)
    if strategy is not None:
        refuse_without_confounds(runs)
        for run, volumes in track(list(zip(runs, headers, strict=True)), "reading confounds"):
            confounds[run.run_id] = read_confounds_of(run, strategy, volumes.shape[0])
    excluded = beyond_limits(runs, headers, exclusion, confounds)
    kept = [pair for pair in zip(runs, headers, strict=True) if pair[0].run_id not in excluded]
    return DenoisedCohort(
        tuple(run for run, _ in kept),
        tuple(volumes for _, volumes in kept),
        {run.run_id: confounds[run.run_id] for run, _ in kept} if confounds else {},
        excluded,
    )


def refuse_without_confounds(runs: Sequence[RunRecord], *, strategy_of: str = "the store") -> None:
    """Raise if runs have no confounds table, naming all of them.

    Raises
    ------
    CohortError
        A run has none.
    """
    without = [run.run_id for run in runs if run.confounds is None]
    if without:
        raise CohortError(
            f"denoising: every run must have a confounds table, as {strategy_of} was declared to "
            f"be denoised, got none for {len(without)} of {len(runs)} runs: "
            f"{some(without, 50)}. Name them in the column confounds of a runs table, or fetch the "
            "derivatives (*_desc-confounds_timeseries.tsv)."
        )


def _refuse_shared(runs: Sequence[RunRecord]) -> None:
    """Raise if two runs have one table: a name without run- fits all runs of a person."""
    owner: dict[Path, str] = {}
    for run in runs:
        if run.confounds is None:
            continue
        other = owner.setdefault(run.confounds, run.run_id)
        if other != run.run_id:
            raise CohortError(
                f"denoising: every run must have a confounds table of its own, got "
                f"{run.confounds} for {other} and {run.run_id}. Name the table of each run in a "
                "runs table, or rename it."
            )


def nuisance_of(
    cohort: DenoisedCohort, *, tr: float, high_pass_s: float | None
) -> dict[str, RunNuisance]:
    """Check that every run is long enough for its regressors, and summarise them by run.

    Raises
    ------
    CohortError
        A run is not; the message names it.
    """
    found = {}
    for run, volumes in zip(cohort.runs, cohort.headers, strict=True):
        known = cohort.confounds.get(run.run_id)
        if known is None:
            continue
        try:
            projection = projection_of(
                volumes.shape[0], tr, high_pass_s, known.values, known.censored
            )
        except InputError as error:
            raise CohortError(f"denoising: {run.run_id} ({run.bold}): {error}") from error
        found[run.run_id] = RunNuisance.of(known, projection.confounds)
    return found


def without_censored(
    trials: Iterable[Trial], confounds: Mapping[str, RunConfounds], strategy: Denoising | None
) -> tuple[list[Trial], list[str]]:
    """Leave out trials with censored volumes in their windows, if the strategy drops them.

    Returns
    -------
    kept : list of Trial
    dropped : list of str
        Trial ids.

    Raises
    ------
    CohortError
        No trial is left.
    """
    trials = list(trials)
    if strategy is None or not strategy.censors or strategy.censor != "drop":
        return trials, []
    kept, dropped = [], []
    for t in trials:
        known = confounds.get(t.run_id)
        if known is not None and touches(known.censored, t.start, t.frames):
            dropped.append(t.trial_id)
        else:
            kept.append(t)
    if dropped and not kept:
        raise CohortError(
            f"denoising: a trial must be left, got censored volumes in the windows of all "
            f"{len(dropped)}. Raise the thresholds, or keep these windows (--censor interpolate)."
        )
    return kept, dropped


def restricted(split: Split, censored: Sequence[str], excluded: Mapping[str, str]) -> Split:
    """Leave out of a split the censored trials, and those of excluded runs.

    Parameters
    ----------
    split : Split
    censored : sequence of str
        Trial ids.
    excluded : mapping of str to str
        Reason by run id; a trial id begins with that of its run.
    """
    if not censored and not excluded:
        return split
    gone, starts = set(censored), tuple(f"{name}_" for name in excluded)
    train, val, test = (
        tuple(i for i in ids if i not in gone and not i.startswith(starts))
        for ids in (split.train, split.val, split.test)
    )
    return replace(split, train=train, val=val, test=test)
