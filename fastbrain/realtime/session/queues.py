"""A bounded queue between two threads that drops its oldest items and counts them."""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, TypeVar

from ...errors import InputError

T = TypeVar("T")


class BoundedQueue(Generic[T]):
    """First in, first out, with a largest length.

    Parameters
    ----------
    capacity : int
        Largest number of items, 1 or more.
    """

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise InputError(
                f"BoundedQueue: capacity must be 1 or more, got {capacity}. Choose a larger one."
            )
        self.capacity, self.dropped, self.closed = capacity, 0, False
        self._items: deque[T] = deque()
        self._changed = threading.Condition()

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: T) -> T | None:
        """Add an item at once; returns the oldest one if it had to be dropped for it."""
        with self._changed:
            out = self._items.popleft() if len(self._items) >= self.capacity else None
            self.dropped += out is not None
            if not self.closed:
                self._items.append(item)
            self._changed.notify_all()
            return out

    def put_waiting(self, item: T, timeout: float) -> bool:
        """Add an item if there is room within `timeout` seconds; returns whether it was added."""
        with self._changed:
            room = self._changed.wait_for(
                lambda: self.closed or len(self._items) < self.capacity, timeout
            )
            if not room or self.closed:
                return False
            self._items.append(item)
            self._changed.notify_all()
            return True

    def get(self, timeout: float = 0.0) -> T | None:
        """Take the oldest item; None if there is none within `timeout` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self.closed or bool(self._items), timeout)
            if not self._items:
                return None
            item = self._items.popleft()
            self._changed.notify_all()
            return item

    def close(self) -> None:
        """Wake all who wait; items that are already there can still be taken."""
        with self._changed:
            self.closed = True
            self._changed.notify_all()
