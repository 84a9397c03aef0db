"""A share of the training part, in whole runs or stories, for learning curves."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from ..._arguments import checked
from ...errors import SplitError, some
from ..readers.events import Trial
from .split import Split


@checked
def share_of_training(
    split: Split, trials: Iterable[Trial], share: float, *, seed: int = 0
) -> Split:
    """Keep a share of the training part; validation and test parts stay as they are.

    Parameters
    ----------
    split : Split
    trials : iterable of Trial
    share : float
        Share of the training trials, above 0 and up to 1.
    seed : int
        Seed of the order in which stories (if every trial has one, otherwise runs) are taken as a
        whole, until they have at least `share` of the trials. With one seed a smaller share is part
        of every larger one.

    Returns
    -------
    Split
        Its order of trials is that of `split`.

    Raises
    ------
    SplitError
        `share` is not above 0 and up to 1, or the split names a trial that does not exist.
    """
    if not 0 < share <= 1:
        raise SplitError(f"share_of_training: share must be above 0 and up to 1, got {share}.")
    if share == 1:
        return split
    known = {t.trial_id: t for t in trials}
    if unknown := [i for i in split.train if i not in known]:
        raise SplitError(
            f"share_of_training: split must name trials of the cohort, got {some(unknown)}. Is it "
            "the split of another cohort?"
        )
    own = [known[i] for i in split.train]
    unit = "story" if all(t.story for t in own) else "run_id"
    units = sorted({getattr(t, unit) for t in own})
    order = [units[i] for i in np.random.default_rng(seed).permutation(len(units))]
    kept: set[str] = set()
    count = 0
    for name in order:
        if count >= share * len(own):
            break
        kept.add(name)
        count += sum(getattr(t, unit) == name for t in own)
    train = tuple(t.trial_id for t in own if getattr(t, unit) in kept)
    return replace(split, train=train, unused=split.unused + len(own) - len(train))
