"""Read the next batches in a thread while the model trains on the current one."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Mapping
from typing import Any

from .run import Loader


class Prefetched:
    """Loader with read-ahead in one thread; order, batches and state are unchanged.

    Reading ahead changes no result: a loader uses separate generators, and the reported state is
    that of the last batch yielded, not of the last one read. If a loop ends early, the loader is
    reset to that state.

    Parameters
    ----------
    loader : Loader
        Must not use the global random generators while it is read.
    ahead : int
        Largest number of batches in the queue.
    """

    def __init__(self, loader: Loader, ahead: int = 2) -> None:
        self.loader, self.ahead = loader, ahead
        self._state: dict[str, Any] | None = None

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        # (batch, state after it), (None, state) at the end, or the exception raised by reading
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
        """State of the loader after the last batch yielded."""
        return self.loader.state_dict() if self._state is None else self._state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the state of the loader."""
        self.loader.load_state_dict(state)
