"""Register the items of a source: number them, and return the volumes to process."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from ...data.readers.timing import TR_TOLERANCE_S
from ...errors import InputError
from ..volume import BadVolume, Source, Volume
from .ledger import Ledger
from .limits import Limits
from .settings import Settings
from .watchdog import Watchdog

_AHEAD = 0.5  # of a TR: a volume that comes so much before its time was already there


@dataclass(frozen=True, eq=False)
class Job:
    """A volume to work on.

    Parameters
    ----------
    volume : Volume
    recorded : bool
        It has a record of an earlier session: only preprocessing needs it.
    backlog : bool
        It was there when the session began, and has no deadline.
    """

    volume: Volume
    recorded: bool
    backlog: bool


class Intake:
    """Registers the items of a source in the ledger.

    Parameters
    ----------
    source : Source
    settings : Settings
    decodes : bool
        Whether every volume must give a text.
    first : int
        Number of the first expected TR.
    open_before : sequence of int
        Earlier TRs without a record.
    origin_s : float
        Seconds of the clock at the start of the session.
    """

    def __init__(
        self,
        source: Source,
        settings: Settings,
        *,
        decodes: bool,
        first: int,
        open_before: tuple[int, ...],
        origin_s: float,
    ) -> None:
        self.deadline_s, self._expected = settings.deadline_s, settings.expected
        self.tr_s = settings.tr_s or source.tr_s
        self.ledger = Ledger(
            self._limits(),
            decodes=decodes,
            first=first,
            open_before=open_before,
            origin_s=origin_s,
        )
        self.watch = Watchdog(self.tr_s or math.inf, idle_timeout_s=settings.idle_timeout_s)
        self.volumes = 0
        self.caught_up = False
        self._shift = 0 if settings.numbered else first
        self._first_seen: tuple[int, float] | None = None

    @property
    def complete(self) -> bool:
        """Whether all TRs of a run of known length have their record."""
        return (
            self._expected is not None
            and self.ledger.highest >= self._expected - 1
            and not self.ledger.waiting(self._expected)
        )

    def take(self, item: Volume | BadVolume | None, now: float) -> Job | None:
        """Register an item; returns what to work on, if there is anything.

        Raises
        ------
        InputError
            The repetition time is not known, or the first volume has another one.
        """
        if item is None:
            # nothing waits after the first volume: from now on they come as they are acquired
            self.caught_up = self._first_seen is not None
            return None
        self.watch.seen(now)
        if isinstance(item, BadVolume):
            index = None if item.index is None else item.index + self._shift
            self.ledger.unreadable(replace(item, index=index))
            return None
        self.volumes += 1
        other = self._learn(item)
        if other and self.volumes > 1:
            bad = BadVolume(item.index + self._shift, other, item.completed_s)
            self.ledger.unreadable(bad)
            return None
        if other:
            raise InputError(
                f"live: {other} Correct --tr, or choose a model of that repetition time."
            )
        if self._shift:
            item = replace(item, index=item.index + self._shift)
        backlog = self._is_backlog(item)
        arrival = self.ledger.arrived(item, backlog=backlog)
        if arrival not in ("new", "recorded"):
            return None
        return Job(item, arrival == "recorded", backlog)

    def _learn(self, volume: Volume) -> str:
        """Take the repetition time from the first volume that has one; say if it is another."""
        if self.tr_s is None:
            if volume.tr_s is None:
                raise InputError(
                    "live: tr must be given for a source that does not state it. Pass --tr."
                )
            self.tr_s = self.watch.tr_s = volume.tr_s
            self.ledger.limits = self._limits()
        elif volume.tr_s is not None and abs(volume.tr_s - self.tr_s) > TR_TOLERANCE_S:
            return (
                f"the volumes must have the repetition time {self.tr_s:g} s, got {volume.tr_s:g} s."
            )
        return ""

    def _limits(self) -> Limits:
        return Limits.of(self.tr_s or math.inf, self.deadline_s)

    def _is_backlog(self, volume: Volume) -> bool:
        if self.caught_up:
            return False
        if self._first_seen is None:
            self._first_seen = (volume.index, volume.completed_s)
        index, start = self._first_seen
        tr_s = self.tr_s or 0.0
        ahead = (volume.index - index) * tr_s - (volume.completed_s - start) > _AHEAD * tr_s
        self.caught_up = not ahead and volume.index > index
        return ahead
