"""Plan a store for each person's own voxel grid, with one split and one filter for all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from ..._arguments import checked
from ...errors import CohortError, InputError, SplitError, some
from ...grid import Triple
from ..readers.events import Trial
from ..readers.recordings import is_series
from ..readers.runs_table import RunRecord
from ..readers.trial_windows import WindowSpec
from ..readers.volumes import Volumes, load_volumes
from ..splits.split import PARTS, Split, made_split
from .choose_highpass import check_high_pass, choose_filter
from .collection_plan import CollectionPlan
from .common_grid import check_same_grid
from .denoising.strategy import Denoising
from .detrend import Units
from .exclusion import Exclusion, named_out
from .fixed_windows import fixed_windows
from .highpass import USUAL_S, HighPass
from .image_space import space_of
from .plan import StorePlan
from .planning import check_names, plan_store, read_cohort
from .planning_denoising import read_cohort_confounds, without_censored
from .planning_denoising import restricted as without_runs
from .planning_rest import plan_rest
from .target_grid import TargetGrid, with_axes_of
from .token_centers import MNI_BRAIN_MM, brain_center


@checked
def plan_native_grids(
    runs: Sequence[RunRecord],
    *,
    window: WindowSpec,
    kernel: Triple,
    split: Split | Callable[[list[Trial]], Split],
    mask: Mapping[str, str | Path] | None = None,
    units: Units = "psc",
    high_pass_s: HighPass = "auto",
    min_voxels: int = 1,
    smoothing_mm: float | None = None,
    ignore: tuple[str, ...] = (),
    late: Literal["error", "drop"] = "error",
    trials: Sequence[Trial] | None = None,
    centred: bool = False,
    events: bool = True,
    every: int | None = None,
    denoising: Denoising | None = None,
    exclude: Exclusion | None = None,
) -> CollectionPlan:
    """Check a cohort in which each person has an own voxel grid, and plan a store for each.

    Every person gets an own brain mask, token grid, mean and standard deviation, as voxels of
    different people do not correspond in their own spaces even where their grids are equal. Split
    and filter are those of the whole cohort. If the axes of a person's images run in another
    direction than those of the first person, they are reordered, so that a weight of a patch means
    the same direction in all.

    Parameters
    ----------
    runs : sequence of RunRecord
        Those of one person must share a grid; all must share the repetition time.
    window, kernel, split, units, high_pass_s, min_voxels, smoothing_mm, ignore, late, trials
        As in :func:`fastbrain.data.plan_store`.
    denoising, exclude
        As in :func:`fastbrain.data.prepare_store`.
    mask : mapping of str to str or Path, optional
        Brain mask by subject label. Default: the masks of the runs, else computed.
    centred : bool
        Whether positions of tokens are counted from the centre of each brain, placed where it lies
        in MNI space; for images in the space of each person. Default: world coordinates, for images
        in a shared space on several grids.
    events : bool
        Whether windows are those of events; else they follow each other, as in
        :func:`fastbrain.data.plan_rest`.
    every : int, optional
        Without events: volumes from one window to the next; default: those of a window.

    Returns
    -------
    CollectionPlan
        For :func:`fastbrain.data.write_collection`.

    Raises
    ------
    SplitError
        A person has no trials in one of the parts.
    FastbrainError
        As in :func:`fastbrain.data.plan_store`; the message names the run.
    """
    if not runs or (every is not None and every < 1):
        raise InputError(
            "plan_native_grids: runs must hold at least one run and every be 1 or more volumes, "
            f"got {len(runs)} runs and {every}."
        )
    odd = [run for run in runs if is_series(run.bold) or run.parcels is not None]
    if odd:
        raise CohortError(
            f"plan_native_grids: runs must be volumes, of which each person has an own grid, got "
            f"surfaces or parcels for {odd[0].run_id} ({odd[0].bold.name}). Their locations "
            "correspond between people: prepare one store of all."
        )
    check_names(runs)
    subjects = {run.run_id: run.subject for run in runs}
    runs, excluded = named_out(runs, exclude)
    headers = tuple(load_volumes(run.bold, tr=run.tr) for run in runs)
    check_same_grid(runs, headers, resampled=True)
    cohort = read_cohort_confounds(runs, headers, denoising, exclude)
    runs, headers, excluded = cohort.runs, cohort.headers, excluded | cohort.excluded
    people = list(dict.fromkeys(run.subject for run in runs))
    unknown = set(mask or {}) - set(people)
    if unknown or "" in people:
        raise CohortError(
            "plan_native_grids: every run and mask must be of a labelled subject of the cohort, "
            f"got {sorted(unknown) or 'a run without one'}."
        )
    own = {p: [r for r in runs if r.subject == p] for p in people}
    dropped: list[str] = []
    if not events:
        step = window.window_trs if every is None else every
        known = [
            trial
            for run, v in zip(runs, headers, strict=True)
            for trial in fixed_windows(run, window, tr=v.tr, n_volumes=v.shape[0], every=step)
        ]
    elif trials is None:
        known = read_cohort(
            runs, headers, window, ignore=ignore, dropped=dropped if late == "drop" else None
        )
    else:
        known = [t for t in trials if t.run_id not in excluded]
    strangers = {t.subject for t in known} - set(people)
    if strangers:
        raise CohortError(
            f"plan_native_grids: trials must be of people with runs, got some of "
            f"{some(sorted(strangers))}."
        )
    known, censored = without_censored(known, cohort.confounds, denoising)
    if isinstance(split, Split):
        split = without_runs(split, censored, excluded)
    whole = made_split(split, known, function="plan_native_grids")
    chosen = set(whole.train)
    shared = choose_filter(
        high_pass_s if events else _period(high_pass_s),
        [t for t in known if t.trial_id in chosen] if events else [],
        lengths={run.run_id: v.shape[0] for run, v in zip(runs, headers, strict=True)},
        tr=headers[0].tr,
        window=window,
        confounds=cohort.confounds if events else {},
        starts={run.run_id: run.start_time for run in runs},
    )
    members: dict[str, StorePlan] = {}
    for person in people:
        theirs = [t for t in known if t.subject == person]
        part = restricted(whole, theirs, who=f"sub-{person}", tested=events)
        target = _grid_of(person, own, runs, headers)
        if events:
            plan = plan_store(
                own[person],
                window=window,
                kernel=kernel,
                split=part,
                mask=(mask or {}).get(person),
                units=units,
                high_pass_s=shared.high_pass_s,
                min_voxels=min_voxels,
                smoothing_mm=smoothing_mm,
                resample=target,
                trials=theirs,
                denoising=denoising,
            )
        else:
            plan = plan_rest(
                own[person],
                split=_always(part),
                window_trs=window.window_trs,
                every=every,
                kernel=kernel,
                mask=(mask or {}).get(person),
                units=units,
                high_pass_s=shared.high_pass_s,
                smoothing_mm=smoothing_mm,
                resample=target,
                denoising=denoising,
            )
        x, y, z = brain_center(plan.grid, plan.affine) - MNI_BRAIN_MM if centred else np.zeros(3)
        members[f"sub-{person}"] = replace(
            plan,
            filter=shared,
            dropped=tuple(d for d in dropped if _names_run(d, own[person])),
            censored_trials=tuple(t for t in censored if _subject_of(t, subjects) == person),
            excluded={name: why for name, why in excluded.items() if subjects[name] == person},
            exclude=exclude,
            origin_mm=(round(float(x), 3), round(float(y), 3), round(float(z), 3)),
        )
    return CollectionPlan(members, known, whole, centred)


def restricted(whole: Split, trials: Sequence[Trial], *, who: str, tested: bool = True) -> Split:
    """Return the part of a split that concerns one member of a collection.

    Raises
    ------
    SplitError
        The member has no trials in one of the parts (for `tested`, the test part included).
    """
    ids = {t.trial_id for t in trials}
    parts = {name: tuple(i for i in whole.part(name) if i in ids) for name in PARTS}
    empty = [name for name in PARTS if not parts[name] and (tested or name != "test")]
    if empty:
        raise SplitError(
            f"plan_native_grids: {who} must have trials in every part of the split, got none in "
            f"{' and '.join(empty)}. A person's grid has statistics and scores of its own: split "
            "by run or session; to test on unseen people, resample to a common grid (--resample)."
        )
    return replace(
        whole,
        train=parts["train"],
        val=parts["val"],
        test=parts["test"],
        unused=len(trials) - sum(map(len, parts.values())),
    )


def _grid_of(
    person: str,
    own: Mapping[str, list[RunRecord]],
    runs: Sequence[RunRecord],
    headers: Sequence[Volumes],
) -> TargetGrid | None:
    """Return the grid of a person with the axes of the first one; None if they run as there."""
    mine = [v for run, v in zip(runs, headers, strict=True) if run.subject == person]
    space_of(own[person])
    check_same_grid(own[person], tuple(mine))
    affine = mine[0].affine
    target = with_axes_of(
        mine[0].shape[1:], affine, headers[0].affine, name=f"sub-{person}, axes reordered"
    )
    return None if np.allclose(target.affine, affine) else target


def _period(high_pass_s: HighPass) -> HighPass:
    return USUAL_S if high_pass_s == "auto" else check_high_pass(high_pass_s)


def _always(part: Split) -> Callable[[list[Trial]], Split]:
    return lambda trials: part


def _subject_of(trial_id: str, subjects: Mapping[str, str]) -> str:
    """Return the subject of a trial by its id, which begins with that of its run."""
    runs = [run for run in subjects if trial_id.startswith(f"{run}_")]
    return subjects[max(runs, key=len)] if runs else ""


def _names_run(text: str, runs: Sequence[RunRecord]) -> bool:
    return any(run.events is not None and str(run.events) in text for run in runs)
