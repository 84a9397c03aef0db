"""Volumes that the same process hands over."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator

from ..._arguments import checked
from ...errors import InputError
from ..volume import BadVolume, Clock, MonotonicClock, Volume


@checked(least={"maxsize": 1, "poll_s": 1e-4})
class PushSource:
    """A bounded queue as a source.

    Parameters
    ----------
    tr_s : float, optional
        Repetition time, seconds.
    clock : Clock, optional
        Default: the machine's monotonic clock.
    poll_s : float
        Longest time without a yield, seconds.
    maxsize : int
        Number of volumes that wait at most; the oldest is dropped, and counted, for a newer one.
    """

    def __init__(
        self,
        *,
        tr_s: float | None = None,
        clock: Clock | None = None,
        poll_s: float = 0.02,
        maxsize: int = 64,
    ) -> None:
        self.name, self.tr_s = "push", tr_s
        self.dropped = 0
        self._clock: Clock = MonotonicClock() if clock is None else clock
        self._poll_s, self._maxsize = poll_s, maxsize
        self._queue: deque[Volume | BadVolume] = deque()
        self._changed = threading.Condition()
        self._closed = False

    def push(self, volume: Volume | BadVolume) -> None:
        """Hand over a volume, or one that cannot be read; from any thread.

        Raises
        ------
        InputError
            The source is closed, or `volume` is something else.
        """
        if not isinstance(volume, (Volume, BadVolume)):
            raise InputError(
                f"push: volume must be a Volume or BadVolume, got {type(volume).__name__}. Make "
                "one with fastbrain.realtime.Volume."
            )
        with self._changed:
            if self._closed:
                raise InputError("push: the source must be open, got a closed one. Open another.")
            if len(self._queue) >= self._maxsize:
                self._queue.popleft()
                self.dropped += 1
            self._queue.append(volume)
            self._changed.notify()

    def __iter__(self) -> Iterator[Volume | BadVolume | None]:
        """Yield what was pushed, and None while nothing is; end after :meth:`close`."""
        while True:
            with self._changed:
                if not self._queue and not self._closed and isinstance(self._clock, MonotonicClock):
                    self._changed.wait(self._poll_s)
                item = self._queue.popleft() if self._queue else None
                over = self._closed
            if item is None and over:
                return
            if item is None and not isinstance(self._clock, MonotonicClock):
                self._clock.sleep(self._poll_s)
            yield item

    def close(self) -> None:
        """End the run; what was pushed before is still yielded."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
