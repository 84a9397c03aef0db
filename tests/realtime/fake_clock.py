"""A clock that moves only when it is slept on or set."""

from __future__ import annotations


class FakeClock:
    """Clock of which tests set the reading; `sleep` advances it at once."""

    def __init__(self, now: float = 0.0) -> None:
        self.reading = now

    def now(self) -> float:
        return self.reading

    def sleep(self, seconds: float) -> None:
        self.advance(seconds)

    def advance(self, seconds: float) -> None:
        self.reading += seconds
