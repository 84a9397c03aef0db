"""Which TRs are expected, and the one record that each of them gets."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from ..volume import BadVolume, Volume
from .limits import Limits
from .records import Outcome, Record, Status

Arrival = Literal["new", "behind", "duplicate", "recorded", "stray"]

_REORDER = 1  # later volumes that a missing one may be overtaken by, beside the first
_MOST_MISSING = 10_000  # a larger jump of the volume number is a damaged header
_MOST_UNNUMBERED = 64
_NEAR = 0.75  # of a TR: how long before its expected time an unreadable volume may come


@dataclass
class _Open:
    """A TR without a record yet."""

    index: int
    expected_s: float  # when its volume was due
    completed_s: float | None = None
    acquired_s: float | None = None
    backlog: bool = False
    copies: int = 0
    behind: bool = False
    unreadable: str = ""
    unreadable_s: float = 0.0
    missing_since: float | None = None
    outcome: Outcome | None = None


class Ledger:
    """The expected TRs of a run; each gets exactly one record.

    Expected are all volume numbers from the first one up to the highest that has arrived, or up to
    the number of volumes of the run where it is known. The numbers are those of the source; a
    pause of the scanner adds no records. The status of a record is the first that applies:

    ``out_of_order``
        The volume came after a later one. It is not decoded.
    ``duplicate``
        The volume came more than once before its record was closed; the first readable copy counts.
    ``bad_volume``
        What came cannot be read. One without a number belongs to the missing TR at the expected
        time of which it came.
    ``dropped``
        No volume came before the second later one, or within 1.5 TR of the first later one; of
        volumes that were there when the session began, the latter alone counts.
    ``late``
        A result was due and was not there at its deadline: it came later, or its window was
        skipped because a newer volume was waiting.
    ``held``
        The volume came in time and gave no new text: the window is incomplete or outside the limits
        of training, or preprocessing or the decoder failed. The last text is held.
    ``ok``
        None of these.

    A record is closed when the volume has its result and the next one has come or the deadline has
    passed. Records are closed nearly in the order of their TRs. What arrives for a closed TR is a
    stray: counted and not used.

    Parameters
    ----------
    limits : Limits
    decodes : bool
        Whether every volume must give a text.
    first : int
        Number of the first expected TR.
    open_before : iterable of int
        Earlier TRs without a record in the log that is continued.
    origin_s : float
        Seconds of the clock at the start of the session.
    """

    def __init__(
        self,
        limits: Limits,
        *,
        decodes: bool = True,
        first: int = 0,
        open_before: Iterable[int] = (),
        origin_s: float = 0.0,
    ) -> None:
        self.limits, self.decodes, self.origin_s = limits, decodes, origin_s
        self.highest = -1  # highest number that has arrived
        self.counts: Counter[str] = Counter()
        self.last_text = ""
        self.last_text_of: int | None = None
        self._highest_s = origin_s
        self._next = first  # first number that was never opened
        self._open: dict[int, _Open] = {i: _Open(i, origin_s) for i in sorted(open_before)}
        self._unnumbered: deque[BadVolume] = deque(maxlen=_MOST_UNNUMBERED)

    def arrived(self, volume: Volume, *, backlog: bool = False) -> Arrival:
        """Register a readable volume.

        Returns
        -------
        {"new", "behind", "duplicate", "recorded", "stray"}
            Only ``"new"`` ones are decoded. ``"recorded"``: has a record of an earlier session and
            is read again; it belongs into the preprocessing of the next ones.
        """
        index = volume.index
        if self._impossible(index):
            reason = f"volume number {index} is not possible after {self.highest}"
            self._unnumbered.append(BadVolume(None, reason, volume.completed_s))
            return self._stray()
        if self._closed(index):
            if index <= self.highest:
                return self._stray()
            self._seen(index, volume.completed_s)
            return "recorded"
        entry = self._reveal(index, volume.completed_s, backlog=backlog)
        entry.copies += 1
        if entry.copies > 1:
            return "duplicate"
        entry.completed_s, entry.acquired_s = volume.completed_s, volume.acquired_s
        entry.backlog, entry.behind = backlog, index < self.highest
        self._seen(index, volume.completed_s)
        return "behind" if entry.behind else "new"

    def unreadable(self, bad: BadVolume) -> None:
        """Register something that cannot be read."""
        if bad.index is None or self._impossible(bad.index):
            self._unnumbered.append(bad)
        elif self._closed(bad.index):
            self._stray()
        else:
            entry = self._reveal(bad.index, bad.completed_s)
            entry.unreadable, entry.unreadable_s = bad.reason, bad.completed_s
            self._seen(bad.index, bad.completed_s)

    def finished(self, index: int, outcome: Outcome) -> None:
        """Register the result of a volume; one that comes after its record was closed is a stray.

        The text of a stray result is held from then on.
        """
        if outcome.text is not None and (self.last_text_of is None or index > self.last_text_of):
            self.last_text, self.last_text_of = outcome.text, index
        if index in self._open:
            self._open[index].outcome = outcome
        elif self._closed(index) and outcome.text is not None:
            self._stray()

    def close_due(self, now: float) -> list[Record]:
        """Close every TR that can be closed."""
        due = [entry for entry in self._open.values() if self._is_due(entry, now)]
        return [self._close(entry, now) for entry in due]

    def close_all(self, now: float, *, expected: int | None = None) -> list[Record]:
        """Close all TRs at the end of a session.

        Parameters
        ----------
        now : float
        expected : int, optional
            Number of volumes of the run: those after the last that came are dropped, too.
        """
        if expected is not None and expected > self._next:
            self._reveal(expected - 1, now)
        return [self._close(entry, now) for entry in sorted(self._open.values(), key=_index)]

    def waiting(self, below: float = math.inf) -> int:
        """Count the TRs without a record; with `below`, those before that number."""
        return sum(index < below for index in self._open)

    @property
    def awaits_results(self) -> bool:
        """Whether a volume has come in order and has no result yet."""
        return any(
            entry.completed_s is not None and entry.outcome is None and not entry.behind
            for entry in self._open.values()
        )

    def _impossible(self, index: int) -> bool:
        return index < 0 or index > max(self.highest, self._next) + _MOST_MISSING

    def _closed(self, index: int) -> bool:
        return index < self._next and index not in self._open

    def _stray(self) -> Arrival:
        self.counts["strays"] += 1
        return "stray"

    def _reveal(self, index: int, now: float, *, backlog: bool = False) -> _Open:
        """Open all TRs up to `index`; those before it are missing from now on."""
        for i in range(self._next, index + 1):
            due = self._highest_s + (i - self.highest) * self.limits.tr_s
            self._open[i] = _Open(i, due if self.highest >= 0 else now)
        self._next = max(self._next, index + 1)
        for entry in self._open.values():
            if not entry.copies and not entry.unreadable and entry.index < index:
                # whether there is a backlog shows at the second volume, not at the first
                entry.backlog |= backlog
                entry.missing_since = now if entry.missing_since is None else entry.missing_since
        return self._open[index]

    def _seen(self, index: int, completed_s: float) -> None:
        if index > self.highest:
            self.highest, self._highest_s = index, completed_s

    def _is_due(self, entry: _Open, now: float) -> bool:
        passed = self.highest > entry.index
        if entry.completed_s is not None:
            waited = now - entry.completed_s
            if entry.behind:
                return True
            if entry.outcome is None:
                return waited >= self.limits.give_up_s
            return passed or waited >= self.limits.deadline_s
        if entry.unreadable:
            return passed or now - entry.unreadable_s >= self.limits.deadline_s
        if entry.missing_since is None:
            return False
        # a backlog comes at once: whether its damaged files still grow is known later
        overtaken = self.highest > entry.index + _REORDER and not entry.backlog
        return overtaken or now - entry.missing_since >= self.limits.missing_s

    def _close(self, entry: _Open, now: float) -> Record:
        del self._open[entry.index]
        missed = self._missed(entry, now)
        status, reason = self._status(entry, missed, now)
        done = entry.outcome
        own = done is not None and done.text is not None
        self.counts[status] += 1
        self.counts["records"] += 1
        self.counts["missed"] += missed
        return Record(
            index=entry.index,
            status=status,
            reason=reason,
            missed=missed,
            text=(done.text or "") if done is not None and own else self.last_text,
            text_of=entry.index if own else self.last_text_of,
            acquired_s=entry.acquired_s,
            completed_s=_since(entry.completed_s, self.origin_s),
            closed_s=now - self.origin_s,
            first_word_s=_since(done.first_word_s if done else None, entry.completed_s),
            text_s=_since(done.done_s if done and own else None, entry.completed_s),
            backlog=entry.backlog,
            outcome=done,
        )

    def _missed(self, entry: _Open, now: float) -> bool:
        if entry.completed_s is None or entry.behind or entry.backlog:
            return False
        if entry.outcome is None:
            return now > entry.completed_s + self.limits.deadline_s
        late = entry.outcome.done_s > entry.completed_s + self.limits.deadline_s
        return late or entry.outcome.skipped

    def _status(self, entry: _Open, missed: bool, now: float) -> tuple[Status, str]:
        if entry.behind:
            return "out_of_order", "came after a later volume"
        if entry.copies > 1 or (entry.copies and entry.unreadable):
            return "duplicate", f"came {entry.copies + bool(entry.unreadable)} times"
        if entry.unreadable:
            return "bad_volume", entry.unreadable
        if not entry.copies:
            bad = self._claimed(entry, now)
            return ("dropped", "no volume came") if bad is None else ("bad_volume", bad.reason)
        done = entry.outcome
        if done is None:
            return ("late" if missed else "held"), "the session did not wait for its result"
        if missed:
            return "late", done.reason or "the result came after its deadline"
        if done.reason or (self.decodes and done.text is None):
            return "held", done.reason or "no text"
        return "ok", ""

    def _claimed(self, entry: _Open, now: float) -> BadVolume | None:
        """Take the unreadable volume without a number that belongs to a missing TR.

        It came when this one was due, or later and no other missing one was due nearer to it.
        """
        early = entry.expected_s - _NEAR * self.limits.tr_s
        missing = [e for e in self._open.values() if not e.copies and not e.unreadable]
        for bad in self._unnumbered:
            distance = abs(bad.completed_s - entry.expected_s)
            nearer = any(abs(bad.completed_s - other.expected_s) < distance for other in missing)
            if early <= bad.completed_s <= now and not nearer:
                self._unnumbered.remove(bad)
                return bad
        return None


def _since(value: float | None, start: float | None) -> float | None:
    return None if value is None or start is None else value - start


def _index(entry: _Open) -> int:
    return entry.index
