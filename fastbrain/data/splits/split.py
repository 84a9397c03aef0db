"""Train, validation and test parts of a cohort, and the check that they are disjoint."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any, Literal, get_args

from ..._arguments import checked
from ..._rules import Rule, checked_record, count, flag, list_of, text
from ...errors import CohortError, LeakError, SplitError, some
from ..readers.events import Trial
from .guard_windows import Spans, close_pairs, count_close, spans

Key = Literal[
    "run_id", "run", "session", "subject", "family", "site", "story", "stimulus", "category"
]
Part = Literal["train", "val", "test"]
PARTS: tuple[Part, ...] = ("train", "val", "test")
PAIRS: tuple[tuple[Part, Part], ...] = (("train", "val"), ("train", "test"), ("val", "test"))
# fields that have one value per subject
_OF_A_PERSON = ("family", "site")
# fields that older split files may lack
_LATER = ("closed_set",)
_NAMES: Rule = list_of(text)
_RULES: dict[str, Rule] = {
    **dict.fromkeys(("train", "val", "test", "keys", "val_keys"), _NAMES),
    **{"guard_trs": count, "unused": count, "closed_set": flag},
}
_SHOWN = 3


@checked(error=SplitError, least={"guard_trs": 0, "unused": 0})
@dataclass(frozen=True)
class Split:
    """Trial ids of the three parts.

    Parameters
    ----------
    train, val, test : tuple of str
        Trial ids.
    guard_trs : int
        Volumes that must lie between two windows of different parts in the same run.
    keys : tuple of str
        Trial fields of which the test part shares no value with train or val.
    val_keys : tuple of str
        Trial fields of which the val part shares no value with train.
    unused : int
        Number of trials that are in no part.
    closed_set : bool
        Declares that the texts to decode are a known closed set (for example eight categories) and
        that each occurs in training. In the test part the scans are then new, the texts are not.
    """

    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]
    guard_trs: int
    keys: tuple[str, ...]
    val_keys: tuple[str, ...] = ()
    unused: int = 0
    closed_set: bool = False

    def __post_init__(self) -> None:
        for name in ("train", "val", "test", "keys", "val_keys"):
            object.__setattr__(self, name, tuple(map(str, getattr(self, name))))

    def part(self, name: Part) -> tuple[str, ...]:
        """Return the trial ids of ``"train"``, ``"val"`` or ``"test"``."""
        if name not in PARTS:
            raise SplitError(f"Split.part: name must be one of {PARTS}, got {name!r}.")
        return tuple(getattr(self, name))

    def check(self, trials: Iterable[Trial]) -> None:
        """Check that the parts are disjoint.

        Train and validation may both be empty, in a store that a trained model only decodes; test
        may be, in a store without texts, which only pretrains an encoder.

        Raises
        ------
        SplitError
            A part is empty or names a trial that does not exist; a subject has two families or
            sites where one of these is a key.
        LeakError
            Two parts share a trial, a value of a key, or volumes (the guard included). The
            message names the first pairs.
        """
        known = {trial.trial_id: trial for trial in trials}
        parts: dict[str, list[Trial]] = {}
        for name in PARTS:
            ids = self.part(name)
            unknown = [i for i in ids if i not in known]
            decoded_only = not self.train and not self.val and (name != "test" or not known)
            # windows without texts pretrain the encoder, and nothing is ever scored on them
            unscored = name == "test" and bool(known) and not any(t.text for t in known.values())
            if unknown or not (ids or decoded_only or unscored):
                raise SplitError(
                    f"Split.check: {name} must name trials of the cohort, got "
                    f"{some(unknown) if unknown else 'none'}."
                )
            parts[name] = [known[i] for i in ids]
        for one, other in PAIRS:
            _check_ids(one, other, self.part(one), self.part(other))
            for key in self.keys if other == "test" else self.val_keys:
                _check_key(key, one, other, parts[one], parts[other])
        _check_guard(parts, self.guard_trs)

    def to_json(self) -> dict[str, Any]:
        """Convert to plain JSON values."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_json(cls, value: Any) -> Split:
        """Inverse of :meth:`to_json`.

        Raises
        ------
        SplitError
            Missing or unknown keys, or values of the wrong type.
        """
        return cls(
            **checked_record(
                value, _RULES, where="Split.from_json", error=SplitError, optional=_LATER
            )
        )


def made_split(
    split: Split | Callable[[list[Trial]], Split], trials: list[Trial], *, function: str
) -> Split:
    """Return a split, or make it from the trials, and check it; see :meth:`Split.check`.

    Parameters
    ----------
    split : Split or callable
    trials : list of Trial
    function : str
        Name of the calling function, for messages.

    Raises
    ------
    CohortError
        The callable returned something else.
    SplitError, LeakError
        As for :meth:`Split.check`.
    """
    found = split if isinstance(split, Split) else split(trials)
    if not isinstance(found, Split):
        raise CohortError(
            f"{function}: split must give a Split, got {type(found).__name__}. Return that of "
            "split_by or another split function."
        )
    found.check(trials)
    return found


def values_of(trials: Iterable[Trial], key: str) -> list[str]:
    """Return the distinct values of a trial field in order of first use.

    Raises
    ------
    SplitError
        There is no such field, a trial has no value in it, or a subject has two families or sites.
    """
    if key not in get_args(Key):
        raise SplitError(f"split: key must be one of {get_args(Key)}, got {key!r}.")
    trials = list(trials)
    values = list(dict.fromkeys(getattr(trial, key) for trial in trials))
    if "" in values:
        where = "runs table or participants.tsv" if key in _OF_A_PERSON else "events files"
        raise SplitError(
            f"split: every trial must have a {key}, got an empty one. "
            f"Add the column to the {where}."
        )
    if key in _OF_A_PERSON:
        known: dict[str, str] = {}
        for trial in trials:
            value = getattr(trial, key)
            if known.setdefault(trial.subject, value) != value:
                raise SplitError(
                    f"split: a subject must have one {key}, got {known[trial.subject]} and {value} "
                    f"of subject {trial.subject}. Correct the table, or leave the person out."
                )
    return values


def _check_ids(one: str, other: str, first: tuple[str, ...], second: tuple[str, ...]) -> None:
    if shared := sorted(set(first) & set(second)):
        raise LeakError(
            f"Split.check: a trial must be in one part only, got {some(shared)} in {one} and "
            f"{other}."
        )


def _check_key(key: str, one: str, other: str, first: list[Trial], second: list[Trial]) -> None:
    shared = sorted(set(values_of(first, key)) & set(values_of(second, key)))
    if shared:
        raise LeakError(
            f"Split.check: {key} must be in one part only, got {len(shared)} in {one} and {other}: "
            f"{some(shared)}."
        )


def _check_guard(parts: dict[str, list[Trial]], guard: int) -> None:
    total, shown = 0, []
    runs = {name: by_run(members) for name, members in parts.items()}
    for one, other in PAIRS:
        for run_id, first in runs[one].items():
            second = runs[other].get(run_id, [])
            windows, others = spans_of(first), spans_of(second)
            total += int(count_close(windows, others, guard).sum())
            shown += [
                f"{first[i].trial_id} ({one}) and {second[j].trial_id} ({other})"
                for i, j in islice(close_pairs(windows, others, guard), _SHOWN)
            ]
    if total:
        more = f" and {total - _SHOWN} more" if total > _SHOWN else ""
        raise LeakError(
            f"Split.check: windows of different parts must be at least {guard} volumes apart, got "
            f"{total} pairs closer: {', '.join(shown[:_SHOWN])}{more}."
        )


def by_run(trials: Iterable[Trial]) -> dict[str, list[Trial]]:
    """Group trials by run id."""
    runs: dict[str, list[Trial]] = defaultdict(list)
    for trial in trials:
        runs[trial.run_id].append(trial)
    return runs


def spans_of(trials: list[Trial]) -> Spans:
    """Return the first volume of each window and the one after its last, (n, 2)."""
    return spans([(t.start, t.frames) for t in trials])
