"""State of a session from the silence of its source."""

from __future__ import annotations

from typing import Literal

State = Literal["ready", "waiting", "running", "stalled", "stopped"]

_SILENCE_TRS = 1.5


class Watchdog:
    """Says whether the source runs or is stalled: silent for more than 1.5 TR.

    Only differences of the given times are used, so any monotonic clock serves.

    Parameters
    ----------
    tr_s : float
    idle_timeout_s : float, optional
        Silence, also before the first volume, after which a session should end.
    """

    def __init__(self, tr_s: float, *, idle_timeout_s: float | None = None) -> None:
        self.tr_s, self.idle_timeout_s = tr_s, idle_timeout_s
        self._since = 0.0
        self._state: State = "waiting"

    def start(self, now: float) -> None:
        """Begin to measure silence."""
        self._since = now

    def seen(self, now: float) -> None:
        """Register that something came."""
        self._since, self._state = now, "running"

    def check(self, now: float) -> State:
        """Return the state at a time."""
        if self._state == "running" and self.silence(now) > _SILENCE_TRS * self.tr_s:
            self._state = "stalled"
        return self._state

    def silence(self, now: float) -> float:
        """Seconds since something came, or since the start."""
        return now - self._since

    def idle(self, now: float) -> bool:
        """Whether the silence has reached the time after which a session should end."""
        return self.idle_timeout_s is not None and self.silence(now) >= self.idle_timeout_s
