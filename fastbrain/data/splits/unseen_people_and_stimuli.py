"""Split that tests generalisation to new subjects and new stimuli.

A split by subject alone leaks the stimulus, because subjects watch the same films; a split by
stimulus alone leaks the subject (Yin et al. 2023, arXiv 2312.10987). Here both are new in a test
trial.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from ..._arguments import checked
from ...errors import SplitError
from ..readers.events import Trial
from .by_group import finish_split
from .split import Split, values_of


@checked(error=SplitError)
def split_unseen(
    trials: Sequence[Trial],
    *,
    test_subjects: Sequence[str],
    test_stimuli: float = 0.2,
    val: Literal["run", "subject", "stimulus"] = "run",
    val_fraction: float = 0.2,
    seed: int = 0,
    guard_trs: int | None = None,
    closed_set: bool = False,
) -> Split:
    """Test on new stimuli seen by new subjects.

    Stimuli that only the test subjects saw are all held out, which removes no training trials. Of
    those that training subjects saw too, the share `test_stimuli` is held out from training.

    Parameters
    ----------
    trials : sequence of Trial
    test_subjects : sequence of str
        Subjects of the test part.
    test_stimuli : float
        Share of the common stimuli to hold out, 0..1.
    val : str
        Source of the validation trials: ``"run"``, whole runs (the same for all subjects) of
        training subjects; ``"subject"``, further subjects held out in the same way as the test
        part; ``"stimulus"``, scattered trials, which also removes their neighbours within
        `guard_trs`. In all three no stimulus is in both train and val.
    val_fraction : float
        Share of runs, subjects or stimuli, at least one.
    seed : int
    guard_trs : int, optional
        Volumes between windows of different parts; default window + delay.
    closed_set : bool
        See :class:`fastbrain.data.Split`: the stimuli are new, their texts occur in training.

    Returns
    -------
    Split
        Checked; ``Split.unused`` counts the trials that were left out.

    Raises
    ------
    SplitError
        A subject does not exist, a share is not in 0..1, or a part would be empty.
    """
    for name, share in (("test_stimuli", test_stimuli), ("val_fraction", val_fraction)):
        if not 0 < share < 1:
            raise SplitError(f"split_unseen: {name} must lie between 0 and 1, got {share}.")
    rng = np.random.default_rng(seed)
    people = values_of(trials, "subject")
    values_of(trials, "stimulus")
    unknown = sorted(set(test_subjects) - set(people))
    if unknown or not test_subjects:
        raise SplitError(
            f"split_unseen: test_subjects must be some of {people}, got {list(test_subjects)}."
        )
    if set(test_subjects) == set(people):
        raise SplitError(
            f"split_unseen: test_subjects must leave a person to train on, got all of {people}."
        )
    test, rest = _hold_out(trials, set(test_subjects), test_stimuli, rng)
    if val == "subject":
        some = set(_sample(values_of(rest, "subject"), val_fraction, rng))
        held, train = _hold_out(rest, some, test_stimuli, rng)
    elif val in ("run", "stimulus"):
        values = values_of(rest, val)
        some = set(_sample(values, val_fraction, rng)) if len(values) > 1 else set()
        held = [t for t in rest if getattr(t, val) in some]
        seen = {t.stimulus for t in held}
        train = [t for t in rest if getattr(t, val) not in some and t.stimulus not in seen]
    else:
        raise SplitError(f"split_unseen: val must be run, subject or stimulus, got {val!r}.")
    return finish_split(
        trials,
        {"train": train, "val": held, "test": test},
        keys=("subject", "stimulus"),
        val_keys=tuple(dict.fromkeys((val, "stimulus"))),
        guard_trs=guard_trs,
        closed_set=closed_set,
    )


def _hold_out(
    trials: Sequence[Trial], people: set[str], share: float, rng: np.random.Generator
) -> tuple[list[Trial], list[Trial]]:
    """Return (held-out subjects × held-out stimuli, other subjects × other stimuli)."""
    theirs = dict.fromkeys(t.stimulus for t in trials if t.subject in people)
    others = {t.stimulus for t in trials if t.subject not in people}
    common = [s for s in theirs if s in others]
    out = set(theirs) - others | set(_sample(common, share, rng))
    held = [t for t in trials if t.subject in people and t.stimulus in out]
    rest = [t for t in trials if t.subject not in people and t.stimulus not in out]
    return held, rest


def _sample(values: Sequence[str], share: float, rng: np.random.Generator) -> list[str]:
    if not values:
        return []
    count = max(1, round(share * len(values)))
    return [values[i] for i in sorted(rng.permutation(len(values))[:count])]
