"""Partners of test windows: of other runs, or of the same run if the test part has one alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ...data.readers.events import Trial
from ...errors import InputError
from ...stats.derangements import derangements
from .stories import shifted_partners


def kept_apart(trials: Sequence[Trial]) -> tuple[str, ...]:
    """Fields that the partners of a derangement do not share: run, and story if all have one."""
    return ("run_id", "story") if trials and all(t.story for t in trials) else ("run_id",)


def partners_across_runs(
    trials: Sequence[Trial],
    apart: Sequence[str],
    *,
    same: Sequence[str],
    count: int,
    seed: int = 0,
) -> npt.NDArray[np.int64]:
    """Draw partners (count, N) that differ in the fields `apart` and, if possible, agree in `same`.

    Where the question determines the style of its answers, a text written for another question is
    never mistaken for the true one, whatever the brain. Partners of the same question differ in the
    brain alone. Where a question is asked too rarely for that, partners are of any question, and
    :func:`fastbrain.evaluation.run_controls` lets each partner's brain answer the sample's own
    question.

    Parameters
    ----------
    trials : sequence of Trial
    apart : sequence of str
        Attributes of a trial.
    same : sequence of str, (N,)
        Question of each trial.
    count, seed
        As in :func:`fastbrain.stats.derangements`.

    Raises
    ------
    InputError
        No derangement exists.
    """
    kinds = [[getattr(t, name) for t in trials] for name in apart]
    if len(set(same)) > 1:
        try:
            found = derangements(*kinds, within=same, count=count, seed=seed)
        except InputError:
            pass
        else:
            # a question asked in two runs only has a single derangement, which supports no p
            if 2 * len(np.unique(found, axis=0)) > count:
                return found
    return derangements(*kinds, count=count, seed=seed)


def have_partners_across_runs(trials: Sequence[Trial]) -> bool:
    """Whether every trial can have a partner of another run and, if all have one, story."""
    kinds = [[getattr(t, name) for t in trials] for name in kept_apart(trials)]
    try:
        derangements(*kinds, count=1)
    except InputError:
        return False
    return True


def partners_within_runs(
    trials: Sequence[Trial], *, count: int, seed: int = 0
) -> npt.NDArray[np.int64]:
    """Draw partners (count, N) by a circular shift of the windows of each run.

    A partner's window starts at least window + delay volumes earlier or later, so that neither
    window holds the response to the other's stimulus.

    Raises
    ------
    InputError
        A run is too short for such a shift.
    """
    order = np.array(sorted(range(len(trials)), key=lambda i: (trials[i].run_id, trials[i].start)))
    runs: dict[str, list[Trial]] = {}
    for i in order:
        runs.setdefault(trials[i].run_id, []).append(trials[i])
    guard = max(_smallest_shift(own) for own in runs.values())
    try:
        shifted = shifted_partners([*map(len, runs.values())], guard=guard, count=count, seed=seed)
    except InputError as error:
        short = min(runs, key=lambda run: len(runs[run]))
        raise InputError(
            "partners_within_runs: every run must be long enough to shift its windows by "
            f"{guard}, got {len(runs[short])} windows in {short}. Hold out two runs or more of "
            "equal length: fewer folds, or another unit."
        ) from error
    partners = np.empty_like(shifted)
    partners[:, order] = order[shifted]
    return partners


def _smallest_shift(trials: Sequence[Trial]) -> int:
    """Fewest windows to shift by, so that partners start window + delay volumes apart."""
    starts = np.array([t.start for t in trials])
    apart = max(max(t.guard_trs, t.frames) for t in trials)
    for shift in range(1, len(starts)):
        if (starts[shift:] - starts[:-shift] >= apart).all():
            return shift
    return len(starts)
