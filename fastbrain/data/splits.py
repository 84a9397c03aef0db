"""Who learns from what: three disjoint sets of trials and the proof that they are disjoint."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

from ..errors import InputError, LeakError, SplitError
from .events import Trial

Key = Literal["run_id", "run", "session", "subject", "stimulus", "category"]
Part = Literal["train", "val", "test"]
PARTS: tuple[Part, ...] = ("train", "val", "test")
_SHOWN = 3


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
        Trials left out to keep the parts apart.
    """

    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]
    guard_trs: int
    keys: tuple[str, ...]
    val_keys: tuple[str, ...] = ()
    unused: int = 0

    def part(self, name: Part) -> tuple[str, ...]:
        """Trial ids of ``"train"``, ``"val"`` or ``"test"``."""
        if name not in PARTS:
            raise SplitError(f"Split.part: name must be one of {PARTS}, got {name!r}.")
        return tuple(getattr(self, name))

    def check(self, trials: Iterable[Trial]) -> None:
        """Prove that the parts are disjoint.

        Raises
        ------
        SplitError
            A part is empty or names a trial that does not exist.
        LeakError
            Two parts share a trial, a value of a key, or volumes (the guard included). The
            message names the first pairs.
        """
        known = {trial.trial_id: trial for trial in trials}
        parts: dict[str, list[Trial]] = {}
        for name in PARTS:
            ids = self.part(name)
            unknown = [i for i in ids if i not in known]
            if not ids or unknown:
                raise SplitError(
                    f"Split.check: {name} must name trials of the cohort, got "
                    f"{_some(unknown) if unknown else 'none'}."
                )
            parts[name] = [known[i] for i in ids]
        for one, other in (("train", "val"), ("train", "test"), ("val", "test")):
            _check_ids(one, other, self.part(one), self.part(other))  # type: ignore[arg-type]
            for key in self.keys if other == "test" else self.val_keys:
                _check_key(key, one, other, parts[one], parts[other])
        _check_guard(parts, self.guard_trs)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_json(cls, value: Any) -> Split:
        """Inverse of :meth:`to_json`.

        Raises
        ------
        SplitError
            Missing or unknown keys, or values of the wrong type.
        """
        names = {f.name for f in fields(cls)}
        if not isinstance(value, dict) or set(value) != names:
            got = sorted(value) if isinstance(value, dict) else type(value).__name__
            raise SplitError(f"Split.from_json: keys must be {sorted(names)}, got {got}.")
        parsed: dict[str, Any] = {}
        for name, entry in value.items():
            if name in ("guard_trs", "unused"):
                ok = isinstance(entry, int) and not isinstance(entry, bool) and entry >= 0
            else:
                ok = isinstance(entry, list) and all(isinstance(i, str) for i in entry)
            if not ok:
                raise SplitError(f"Split.from_json: {name} has the wrong type, got {entry!r:.80}.")
            parsed[name] = tuple(entry) if isinstance(entry, list) else entry
        return cls(**parsed)


def split_by(
    trials: Sequence[Trial],
    key: Key,
    *,
    train: Sequence[str],
    val: Sequence[str],
    test: Sequence[str],
    guard_trs: int | None = None,
) -> Split:
    """Split by explicit values of one trial field; trials with other values are unused.

    Parameters
    ----------
    trials : sequence of Trial
    key : str
        ``"run_id"`` (one run of one person), ``"run"`` (that run of everybody), ``"session"``,
        ``"subject"``, ``"stimulus"`` or ``"category"``.
    train, val, test : sequence of str
        Values of `key`, disjoint.
    guard_trs : int, optional
        Volumes between windows of different parts; default window + delay. Trials of train and
        val that come too close to another part are left out and counted in ``Split.unused``.

    Returns
    -------
    Split
        Checked.

    Raises
    ------
    SplitError
        A value does not occur, or a part is empty.
    LeakError
        A value is in two parts.
    """
    wanted = {"train": set(train), "val": set(val), "test": set(test)}
    present = set(values_of(trials, key))
    unknown = sorted(set().union(*wanted.values()) - present)
    if unknown:
        raise SplitError(
            f"split_by: {key} must be among {_some(sorted(present))}, got {_some(unknown)}."
        )
    for one, other in (("train", "val"), ("train", "test"), ("val", "test")):
        if shared := wanted[one] & wanted[other]:
            raise LeakError(
                f"split_by: {key} must be in one part only, got {_some(sorted(shared))} in {one} "
                f"and {other}."
            )
    chosen = {name: [t for t in trials if getattr(t, key) in wanted[name]] for name in PARTS}
    return finish_split(trials, chosen, keys=(key,), val_keys=(key,), guard_trs=guard_trs)


def finish_split(
    trials: Sequence[Trial],
    chosen: dict[Part, list[Trial]],
    *,
    keys: tuple[str, ...],
    val_keys: tuple[str, ...],
    guard_trs: int | None,
) -> Split:
    """Leave out what comes too close to another part, make the :class:`Split`, check it."""
    if guard_trs is None:
        guard_trs = max((t.guard_trs for t in trials), default=0)
    if guard_trs < 0:
        raise InputError(f"split: guard_trs must be >= 0, got {guard_trs}.")
    test = chosen["test"]
    # the test part is never thinned out: what was promised to be tested is tested
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
    )
    split.check(trials)
    return split


def values_of(trials: Iterable[Trial], key: str) -> list[str]:
    """Values of a trial field in order of first use; refuses a field that is not filled in."""
    if key not in get_args(Key):
        raise SplitError(f"split: key must be one of {get_args(Key)}, got {key!r}.")
    values = list(dict.fromkeys(getattr(trial, key) for trial in trials))
    if "" in values:
        raise SplitError(
            f"split: every trial must have a {key}, got an empty one. Add the column to the "
            "events files."
        )
    return values


def _check_ids(one: str, other: str, first: tuple[str, ...], second: tuple[str, ...]) -> None:
    if shared := sorted(set(first) & set(second)):
        raise LeakError(
            f"Split.check: a trial must be in one part only, got {_some(shared)} in {one} and "
            f"{other}."
        )


def _check_key(key: str, one: str, other: str, first: list[Trial], second: list[Trial]) -> None:
    shared = sorted(set(values_of(first, key)) & set(values_of(second, key)))
    if shared:
        raise LeakError(
            f"Split.check: {key} must be in one part only, got {len(shared)} in {one} and {other}: "
            f"{_some(shared)}."
        )


def _check_guard(parts: dict[str, list[Trial]], guard: int) -> None:
    pairs: list[str] = []
    by_run: dict[str, list[tuple[int, int, str, str]]] = defaultdict(list)
    for name, members in parts.items():
        for t in members:
            by_run[t.run_id].append((t.start, t.start + t.frames, name, t.trial_id))
    for windows in by_run.values():
        pairs += [f"{a[3]} ({a[2]}) and {b[3]} ({b[2]})" for a, b in _close(windows, guard)]
    if pairs:
        raise LeakError(
            f"Split.check: windows of different parts must be at least {guard} volumes apart, got "
            f"{len(pairs)} pairs closer: {_some(pairs)}."
        )


_Window = tuple[int, int, str, str]


def _close(windows: list[_Window], guard: int) -> Iterator[tuple[_Window, _Window]]:
    """Pairs of windows of different parts with fewer than `guard` volumes between them."""
    ordered = sorted(windows)
    longest = max(end - start for start, end, _, _ in ordered)
    for index, later in enumerate(ordered):
        for earlier in reversed(ordered[:index]):
            if later[0] - earlier[0] >= longest + guard:
                break
            if earlier[2] != later[2] and later[0] - earlier[1] < guard:
                yield earlier, later


def _apart(candidates: list[Trial], others: list[Trial], guard: int) -> list[Trial]:
    """The candidates at least `guard` volumes away from all windows of `others`."""
    by_run: dict[str, list[Trial]] = defaultdict(list)
    for t in others:
        by_run[t.run_id].append(t)
    return [
        t
        for t in candidates
        if all(
            t.start - (o.start + o.frames) >= guard or o.start - (t.start + t.frames) >= guard
            for o in by_run[t.run_id]
        )
    ]


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
