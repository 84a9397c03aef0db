"""Split by named groups: assign runs, subjects or stories to training, validation and test."""

from __future__ import annotations

from collections.abc import Sequence

from ..._arguments import checked
from ...errors import InputError, LeakError, SplitError, some
from ..readers.events import Trial
from .guard_windows import count_close
from .split import PAIRS, PARTS, Key, Part, Split, by_run, spans_of, values_of


@checked(error=SplitError)
def split_by(
    trials: Sequence[Trial],
    key: Key,
    *,
    train: Sequence[str],
    val: Sequence[str],
    test: Sequence[str],
    guard_trs: int | None = None,
    closed_set: bool = False,
    new_stimuli: bool = False,
) -> Split:
    """Split by explicit values of one trial field; trials with other values are unused.

    Parameters
    ----------
    trials : sequence of Trial
    key : str
        ``"run_id"`` (one run of one subject), ``"run"`` (the same run of all subjects),
        ``"session"``, ``"subject"``, ``"family"``, ``"site"``, ``"story"``, ``"stimulus"`` or
        ``"category"``.
    train, val, test : sequence of str
        Values of `key`, disjoint.
    guard_trs : int, optional
        Volumes between windows of different parts; default window + delay. Trials of train and
        val that come too close to another part are left out and counted in ``Split.unused``.
    closed_set : bool
        See :class:`Split`.
    new_stimuli : bool
        Whether training trials leave out the stimuli of validation and test, and validation
        trials those of the test part.

    Returns
    -------
    Split
        Checked with :meth:`Split.check`.

    Raises
    ------
    SplitError
        A value does not occur, a part is empty, or a subject has two families or sites.
    LeakError
        A value is in two parts.
    """
    wanted = {"train": set(train), "val": set(val), "test": set(test)}
    present = set(values_of(trials, key))
    unknown = sorted(set().union(*wanted.values()) - present)
    if unknown:
        raise SplitError(
            f"split_by: {key} must be among {some(sorted(present))}, got {some(unknown)}."
        )
    for one, other in PAIRS:
        if shared := wanted[one] & wanted[other]:
            raise LeakError(
                f"split_by: {key} must be in one part only, got {some(sorted(shared))} in {one} "
                f"and {other}."
            )
    chosen = {name: [t for t in trials if getattr(t, key) in wanted[name]] for name in PARTS}
    keys: tuple[str, ...] = (key,)
    if new_stimuli:
        values_of(trials, "stimulus")
        keys = tuple(dict.fromkeys((key, "stimulus")))
        chosen["val"] = _without(chosen["val"], chosen["test"])
        chosen["train"] = _without(chosen["train"], [*chosen["val"], *chosen["test"]])
    return finish_split(
        trials, chosen, keys=keys, val_keys=keys, guard_trs=guard_trs, closed_set=closed_set
    )


def _without(trials: list[Trial], others: list[Trial]) -> list[Trial]:
    """Return the trials with a stimulus that does not occur in `others`."""
    seen = {t.stimulus for t in others}
    return [t for t in trials if t.stimulus not in seen]


def finish_split(
    trials: Sequence[Trial],
    chosen: dict[Part, list[Trial]],
    *,
    keys: tuple[str, ...],
    val_keys: tuple[str, ...],
    guard_trs: int | None,
    closed_set: bool = False,
) -> Split:
    """Drop train and val trials too close to another part, then build and check the split."""
    if guard_trs is None:
        guard_trs = max((t.guard_trs for t in trials), default=0)
    if guard_trs < 0:
        raise InputError(f"split: guard_trs must be >= 0, got {guard_trs}.")
    test = chosen["test"]
    # test trials are never dropped, so that the test part is exactly the one requested
    val = _apart(chosen["val"], test, guard_trs)
    train = _apart(chosen["train"], [*val, *test], guard_trs)
    split = Split(
        train=tuple(t.trial_id for t in train),
        val=tuple(t.trial_id for t in val),
        test=tuple(t.trial_id for t in test),
        guard_trs=guard_trs,
        keys=keys,
        val_keys=val_keys,
        unused=len(trials) - len(train) - len(val) - len(test),
        closed_set=closed_set,
    )
    split.check(trials)
    return split


def _apart(candidates: list[Trial], others: list[Trial], guard: int) -> list[Trial]:
    """Return the candidates at least `guard` volumes away from all windows of `others`."""
    theirs = by_run(others)
    close = {
        trial.trial_id
        for run_id, members in by_run(candidates).items()
        if run_id in theirs
        for trial, count in zip(
            members, count_close(spans_of(members), spans_of(theirs[run_id]), guard), strict=True
        )
        if count
    }
    return [t for t in candidates if t.trial_id not in close]
