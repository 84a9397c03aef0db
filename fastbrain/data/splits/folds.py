"""Cross-validation: every group is tested once; each fold is a checked train/val/test split."""

from __future__ import annotations

from collections.abc import Sequence

from ..._arguments import checked
from ...errors import SplitError
from ...stats.folds import group_folds
from ..readers.events import Trial
from .by_group import finish_split
from .split import Key, Split, values_of
from .unseen_people_and_stimuli import split_unseen


@checked(error=SplitError)
def split_folds(
    trials: Sequence[Trial],
    key: Key,
    *,
    folds: int,
    seed: int = 0,
    guard_trs: int | None = None,
    closed_set: bool = False,
) -> tuple[Split, ...]:
    """Split into folds of whole groups.

    Fold ``k`` is the test part of split ``k`` and the validation part of split ``k - 1``; the
    other folds train. The test parts are disjoint and together contain every trial.

    Parameters
    ----------
    trials : sequence of Trial
    key : str
        Trial field to group by; a group is never divided. See :func:`fastbrain.data.split_by`.
    folds : int
        At least 3: one to test, one to validate, one to train.
    seed : int
        Seed of the assignment of groups to folds. Groups are assigned in order of decreasing size,
        each to the smallest fold.
    guard_trs : int, optional
        Volumes between windows of different parts; default window + delay.
    closed_set : bool
        See :class:`fastbrain.data.Split`.

    Returns
    -------
    tuple of Split, (folds,)
        Each is checked with :meth:`Split.check`.

    Raises
    ------
    SplitError
        Fewer groups than folds, fewer than 3 folds, a subject with two families or sites, or a
        part that would be empty.
    """
    if folds < 3:
        raise SplitError(
            f"split_folds: folds must be >= 3, got {folds}. One tests, one validates, one trains."
        )
    groups = values_of(trials, key)
    if len(groups) < folds:
        raise SplitError(
            f"split_folds: folds must be at most the {len(groups)} values of {key}, got {folds}. "
            "Take fewer folds, or a finer key."
        )
    fold_of = group_folds([getattr(trial, key) for trial in trials], folds, seed=seed)
    members: list[list[Trial]] = [[] for _ in range(folds)]
    for trial, k in zip(trials, fold_of, strict=True):
        members[k].append(trial)
    return tuple(_fold(trials, members, k, key, guard_trs, closed_set) for k in range(folds))


@checked(error=SplitError)
def split_subject_folds(
    trials: Sequence[Trial],
    *,
    folds: int | None = None,
    test_stimuli: float = 0.2,
    val_fraction: float = 0.2,
    seed: int = 0,
    guard_trs: int | None = None,
    closed_set: bool = False,
) -> tuple[Split, ...]:
    """Test on every subject once, on stimuli that no training subject saw.

    Parameters
    ----------
    trials : sequence of Trial
    folds : int, optional
        Default: one per subject (leave one subject out).
    test_stimuli, val_fraction, guard_trs, closed_set
        As in :func:`fastbrain.data.split_unseen`; whole runs of training subjects validate.
    seed : int
        Seed of the assignment of subjects to folds, and of the held-out stimuli and runs.

    Returns
    -------
    tuple of Split
        One per fold, ordered by the first test subject of each.

    Raises
    ------
    SplitError
        Fewer than two subjects, more folds than subjects, or a part that would be empty.
    """
    people = values_of(trials, "subject")
    folds = len(people) if folds is None else folds
    if not 2 <= folds <= len(people):
        raise SplitError(
            f"split_subject_folds: folds must be 2..{len(people)}, the number of people, got "
            f"{folds}."
        )
    named = [trial.subject for trial in trials]
    fold_of = dict(zip(named, group_folds(named, folds, seed=seed).tolist(), strict=True))
    tested: dict[int, list[str]] = {}
    for person in sorted(people):
        tested.setdefault(fold_of[person], []).append(person)
    return tuple(
        split_unseen(
            trials,
            test_subjects=names,
            test_stimuli=test_stimuli,
            val_fraction=val_fraction,
            seed=seed,
            guard_trs=guard_trs,
            closed_set=closed_set,
        )
        for names in tested.values()
    )


@checked(error=SplitError)
def split_leave_one_out(
    trials: Sequence[Trial],
    key: Key,
    *,
    guard_trs: int | None = None,
    closed_set: bool = False,
) -> tuple[Split, ...]:
    """Test on each group in turn: leave one subject, run, story, site or family out.

    The group after the tested one is the validation part; the remaining groups train.

    Parameters
    ----------
    trials : sequence of Trial
    key : str
        As in :func:`fastbrain.data.split_by`.
    guard_trs, closed_set
        As in :func:`split_folds`.

    Returns
    -------
    tuple of Split
        One for each group, in order of first use.

    Raises
    ------
    SplitError
        Fewer than 3 groups, or as in :func:`split_folds`.
    """
    groups = values_of(trials, key)
    if len(groups) < 3:
        raise SplitError(
            f"split_leave_one_out: {key} must have at least 3 values, got {len(groups)}. "
            "One tests, one validates, one trains."
        )
    members: dict[str, list[Trial]] = {group: [] for group in groups}
    for trial in trials:
        members[getattr(trial, key)].append(trial)
    whole = list(members.values())
    return tuple(_fold(trials, whole, k, key, guard_trs, closed_set) for k in range(len(groups)))


def _fold(
    trials: Sequence[Trial],
    members: list[list[Trial]],
    k: int,
    key: Key,
    guard_trs: int | None,
    closed_set: bool,
) -> Split:
    after = (k + 1) % len(members)
    rest = [t for i, fold in enumerate(members) if i not in (k, after) for t in fold]
    return finish_split(
        trials,
        {"train": rest, "val": members[after], "test": members[k]},
        keys=(key,),
        val_keys=(key,),
        guard_trs=guard_trs,
        closed_set=closed_set,
    )
