"""Leave runs out of a planned store after their quality was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ...errors import CohortError, LeakError, SplitError, some
from ..readers.events import Trial
from ..splits.split import PARTS, Split
from .exclusion import check_left
from .plan import StorePlan
from .resume import REASON

_KEPT = ("subject", "n_volumes", "quality")


def without_measured(
    plan: StorePlan, results: Mapping[str, Mapping[str, Any]]
) -> tuple[StorePlan, dict[str, dict[str, Any]]]:
    """Leave out of a plan the runs that were found beyond a limit of quality.

    Mask, filter and the parts of the other runs stay those of the plan.

    Parameters
    ----------
    plan : StorePlan
    results : mapping
        By run id: what :func:`convert_run` returned.

    Returns
    -------
    plan : StorePlan
    measured : dict
        By run id: subject, n_volumes and quality of the runs that are left out.

    Raises
    ------
    CohortError
        No run is left, or a part of the split has no trial left.
    """
    found = {name: facts for name, facts in results.items() if facts.get(REASON)}
    if not found:
        return plan, {}
    reasons = {name: str(facts[REASON]) for name, facts in found.items()}
    kept = [
        pair for pair in zip(plan.runs, plan.headers, strict=True) if pair[0].run_id not in found
    ]
    check_left([run for run, _ in kept], reasons)
    trials = [trial for trial in plan.trials if trial.run_id not in found]
    split = restricted_to(plan.split, trials)
    try:
        split.check(trials)
    except (SplitError, LeakError) as error:
        raise CohortError(
            f"exclude: the runs that are left must have trials in each part of the split: {error} "
            f"Left out: {some([f'{name} ({why})' for name, why in reasons.items()])}. Change the "
            "limits or the split."
        ) from error
    measured = {name: {key: facts[key] for key in _KEPT} for name, facts in found.items()}
    left = replace(
        plan,
        runs=tuple(run for run, _ in kept),
        headers=tuple(volumes for _, volumes in kept),
        trials=trials,
        split=split,
        nuisance={name: own for name, own in plan.nuisance.items() if name not in found},
        excluded={**plan.excluded, **reasons},
    )
    return left, measured


def restricted_to(split: Split, trials: Sequence[Trial]) -> Split:
    """Return the part of a split that concerns some trials."""
    ids = {trial.trial_id for trial in trials}
    parts = {name: tuple(i for i in split.part(name) if i in ids) for name in PARTS}
    return replace(
        split,
        train=parts["train"],
        val=parts["val"],
        test=parts["test"],
        unused=len(ids) - sum(map(len, parts.values())),
    )
