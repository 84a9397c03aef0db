"""Hands events to the outputs, in a thread of its own while a session runs."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Protocol

from ..._progress import say
from ...errors import FastbrainError
from .events import Event
from .queues import BoundedQueue

_CAPACITY = 8192  # hours of records of a disk that does not answer
_POLL_S = 0.02


class Sink(Protocol):
    """An output; it gets the events ``word``, ``text``, ``control``, ``record``, ``mark``, ``end``.

    Attributes
    ----------
    dropped : int
        Lines that its slow readers have lost.
    """

    dropped: int

    def write(self, event: Event) -> None:
        """Write one event."""

    def close(self) -> None:
        """Finish the output."""


class Writer:
    """Writes events to outputs in order.

    An output that fails does not end the session: events that it could not write are counted, and
    the first failure is printed.

    Parameters
    ----------
    sinks : sequence of Sink
    """

    def __init__(self, sinks: Sequence[Sink]) -> None:
        self.sinks = tuple(sinks)
        self._queue: BoundedQueue[Event] = BoundedQueue(_CAPACITY)
        self._thread: threading.Thread | None = None
        self._failed = 0
        self._said = False

    @property
    def unwritten(self) -> int:
        """Events that an output failed to write, or that waited for too long."""
        return self._failed + self._queue.dropped

    @property
    def dropped(self) -> int:
        """Lines that slow readers of an output have lost."""
        return sum(sink.dropped for sink in self.sinks)

    def start(self) -> None:
        """Write in a thread from now on."""
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
        self._thread.start()

    def put(self, event: Event) -> None:
        """Take an event; without a thread it is written at once."""
        if self._thread is None:
            self._write(event)
        else:
            self._queue.put(event)

    def close(self, timeout: float) -> None:
        """Write what waits, for at most `timeout` seconds, and close the outputs."""
        self._queue.close()
        if self._thread is not None:
            self._thread.join(timeout)
        for sink in self.sinks:
            try:
                sink.close()
            except (OSError, FastbrainError) as error:
                self._fail(error)

    def _run(self) -> None:
        while True:
            event = self._queue.get(_POLL_S)
            if event is not None:
                self._write(event)
            elif self._queue.closed:
                return

    def _write(self, event: Event) -> None:
        for sink in self.sinks:
            try:
                sink.write(event)
            except Exception as error:
                self._fail(error)

    def _fail(self, error: Exception) -> None:
        self._failed += 1
        if not self._said:
            self._said = True
            reason = str(error) if isinstance(error, FastbrainError) else type(error).__name__
            say(f"live: an output fails, the session goes on: {reason}")
