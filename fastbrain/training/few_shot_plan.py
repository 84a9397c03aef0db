"""Plan of few-shot adaptation: runs of a new subject to fit on, and runs to score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .._arguments import checked
from .._progress import say
from ..data import Audit, FitScope, Split, VoxelStore, audit_trials
from ..data.leaks.scan_digests import window_digests
from ..data.store.inputs import refuse_without_texts
from ..errors import ConfigError, InputError


@dataclass(frozen=True)
class FewShot:
    """Runs and trials of a new subject by purpose; no run has two purposes.

    Parameters
    ----------
    subject : str
    runs : tuple of str
        Run ids to fit on. If there are two or more, the last is for early stopping.
    train, val, scored : tuple of str
        Trial ids for fitting, early stopping and scoring.
    """

    subject: str
    runs: tuple[str, ...]
    train: tuple[str, ...]
    val: tuple[str, ...]
    scored: tuple[str, ...]


@checked
def plan_few_shot(
    store: VoxelStore, subject: str, runs: int, *, score_runs: Sequence[str] = ()
) -> FewShot:
    """Choose the first runs of a subject to fit on, and test trials of other runs to score.

    Parameters
    ----------
    store : VoxelStore
    subject : str
        Label, with or without "sub-".
    runs : int
        Number of runs to fit on.
    score_runs : sequence of str
        Run ids to score. Default: all runs of the subject in the test part that are not fitted on.

    Returns
    -------
    FewShot

    Raises
    ------
    CohortError
        The trials have no texts.
    InputError
        The subject is not in the store, or no run or trial is left to fit on or to score.
    ConfigError
        A run is both to fit on and to score, or a run to score is not in the test part.
    """
    refuse_without_texts(store.trials, function="adapt")
    subject = subject.removeprefix("sub-")
    own = [t for t in store.trials if t.subject == subject]
    if not own:
        people = sorted({t.subject for t in store.trials})
        raise InputError(f"adapt: subject must be one of {people}, got {subject!r}.")
    names = sorted({t.run_id for t in own})
    if not 1 <= runs < len(names):
        raise InputError(
            f"adapt: runs must leave one of the {len(names)} runs of {subject} to score, got "
            f"{runs}."
        )
    chosen = tuple(names[:runs])
    if both := sorted(set(chosen) & set(score_runs)):
        raise ConfigError(
            f"adapt: a run must be fitted on or scored, not both, got {', '.join(both)}. Take "
            "fewer --runs, or leave it out of --score-runs."
        )
    tested = set(store.split.test)
    left = {t.run_id for t in own if t.trial_id in tested} - set(chosen)
    if unfit := sorted(set(score_runs) - left):
        raise ConfigError(
            f"adapt: runs to score must be of {subject}'s test part, got {', '.join(unfit)}. "
            f"There are {', '.join(sorted(left)) or 'none'}."
        )
    wanted = set(score_runs) or left
    scored = tuple(t.trial_id for t in own if t.trial_id in tested and t.run_id in wanted)
    if not scored:
        raise InputError(
            f"adapt: runs must leave a run of {subject}'s test part to score, got none after "
            f"{', '.join(chosen)}."
        )
    # do not fit on stimuli that are also scored, unless the split is closed-set
    asked = {store.by_id[t].stimulus for t in scored}
    known = store.split.closed_set
    lessons = [t for t in own if t.run_id in chosen and (known or t.stimulus not in asked)]
    last = {chosen[-1]} if runs > 1 else set()
    train = tuple(t.trial_id for t in lessons if t.run_id not in last)
    val = tuple(t.trial_id for t in lessons if t.run_id in last)
    if not train:
        raise InputError(
            f"adapt: runs must hold stimuli that are not scored, got none in {', '.join(chosen)}."
        )
    return FewShot(subject, chosen, train, val, scored)


def plan_after(
    base: Mapping[str, Any],
    store: VoxelStore,
    subject: str,
    runs: int,
    *,
    score_runs: Sequence[str] = (),
) -> tuple[FewShot, bool]:
    """Plan the adaptation of a run, on its own store or on another one.

    Parameters
    ----------
    base : mapping
        Manifest of the run; empty for a saved model without one.
    store, subject, runs, score_runs
        See :func:`plan_few_shot`.

    Returns
    -------
    plan : FewShot
        On the store of the first training, only trials that this training may score are scored: it
        may have adapted to other test runs, without their texts.
    same : bool
        Whether `store` is that of the first training.

    Raises
    ------
    CohortError, InputError, ConfigError
        See :func:`plan_few_shot`; or the model was trained on the subject.
    """
    plan = plan_few_shot(store, subject, runs, score_runs=score_runs)
    if base.get("store_fingerprint") != store.fingerprint():
        return plan, False
    if any(store.by_id[t].subject == plan.subject for t in store.split.train):
        raise ConfigError(
            f"adapt: subject must be new, got {plan.subject}, on whom the model was trained."
        )
    allowed = set(base["scored_trials"])
    plan = replace(plan, scored=tuple(t for t in plan.scored if t in allowed))
    if not plan.scored:
        raise InputError("adapt: runs must leave a run to score, got none that may be scored.")
    return plan, True


def audit_plan(
    store: VoxelStore,
    split: Split,
    fits: Sequence[FitScope],
    *,
    allow_leak: str | None,
    prompt_length: int | None = None,
) -> Audit:
    """Audit the fitted and scored trials of an adaptation, and say the result.

    `prompt_length` is that of :func:`fastbrain.data.audit_trials`.

    Raises
    ------
    LeakError
        There is a leak, and `allow_leak` is None.
    """
    scans = window_digests(store, store.trials)
    audit = audit_trials(
        store.trials, split, scans=scans, fits=fits, prompt_length=prompt_length
    ).check(allow=allow_leak)
    say(f"audit: {audit.summary()}")
    return audit


def split_of_plan(store: VoxelStore, plan: FewShot, *, base: bool) -> Split:
    """Build the split for the auditor; with `base`, the earlier training part is in it too."""
    before = store.split
    mine = {*plan.train, *plan.val}
    train = (*(t for t in before.train if base and t not in mine), *plan.train)
    # without a validation run, keep the validation part of the first training
    val = plan.val or tuple(t for t in before.val if t not in mine)
    return replace(
        before, train=train, val=val, test=plan.scored, keys=("run_id",), val_keys=("run_id",)
    )
