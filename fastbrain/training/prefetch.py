"""The next batches are read while the last one is learned from."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Mapping
from typing import Any

from .run import Loader


class Prefetched:
    """A loader that one thread reads ahead of; order, batches and state are the loader's own.

    Reading ahead changes no result: a loader draws from generators of its own, and the state is
    that of the last batch handed out, not of the last one read. A loop that is left early takes
    the loader back there.

    Parameters
    ----------
    loader : Loader
        Must draw nothing from the global generators while it is read.
    ahead : int
        Batches that may lie ready.
    """

    def __init__(self, loader: Loader, ahead: int = 2) -> None:
        self.loader, self.ahead = loader, ahead
        self._state: dict[str, Any] | None = None

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        # (batch, state behind it), (None, state) at the end, or the error that reading met
        ready: queue.Queue[Any] = queue.Queue(self.ahead)
        left = threading.Event()

        def hand(item: Any) -> bool:
            while not left.is_set():
                try:
                    ready.put(item, timeout=0.05)
                    return True
                except queue.Full:
                    continue
            return False

        def read() -> None:
            try:
                for batch in self.loader:
                    if not hand((batch, self.loader.state_dict())):
                        return
                hand((None, self.loader.state_dict()))
            except BaseException as error:
                hand(error)

        self._state = self.loader.state_dict()
        thread = threading.Thread(target=read, name="fastbrain-prefetch", daemon=True)
        thread.start()
        try:
            while True:
                item = ready.get()
                if isinstance(item, BaseException):
                    raise item
                batch, self._state = item
                if batch is None:
                    return
                yield batch
        finally:
            left.set()
            thread.join()
            self.loader.load_state_dict(self._state)
            self._state = None

    def state_dict(self) -> dict[str, Any]:
        """State of the loader as of the last batch handed out."""
        return self.loader.state_dict() if self._state is None else self._state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self.loader.load_state_dict(state)
