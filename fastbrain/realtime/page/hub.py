"""Hands messages from the session's thread to the browsers, with bounded memory on every side.

A browser that connects first receives the newest messages of each kind in one piece, so that a
reload or a lost connection continues where the session is now.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Mapping
from typing import Any

from ..session.events import Publisher
from .messages import Message, messages_of

# kept for a browser that connects later; static/model.js keeps as many
KEPT = {
    "volume": 600,
    "latency": 1000,
    "text": 50,
    "control": 50,
    "record": 50,
    "word": 1,
    "slices": 1,
    "state": 1,
}
_KEPT_NOTABLE = 100  # marks and records that are not "ok"
_WAITING = 256  # messages for one browser
_MOST_CLIENTS = 16
_FEED_CAPACITY = 512
_POLL_S = 0.25


class Client:
    """Messages that wait for one browser; the oldest are dropped where it is slow."""

    def __init__(self, first: str) -> None:
        self.dropped, self.closed = 0, False
        self._waiting: deque[str] = deque([first])
        self._reported = 0
        self._lock = threading.Lock()
        self._loop, self._changed = asyncio.get_running_loop(), asyncio.Event()

    def put(self, body: str) -> None:
        """Add a message; called from the thread of the feed."""
        with self._lock:
            if len(self._waiting) >= _WAITING:
                self._waiting.popleft()
                self.dropped += 1
            was_empty = not self._waiting
            self._waiting.append(body)
        if was_empty:
            self._wake()

    def close(self) -> None:
        """End the stream of this browser."""
        self.closed = True
        self._wake()

    async def take(self, timeout: float) -> list[str]:
        """Return all messages that wait; none after `timeout` seconds without one."""
        if not self._waiting:
            try:
                await asyncio.wait_for(self._changed.wait(), timeout)
            except asyncio.TimeoutError:
                pass
        self._changed.clear()
        with self._lock:
            taken = list(self._waiting)
            self._waiting.clear()
            if self.dropped > self._reported:
                self._reported = self.dropped
                taken.append(f'{{"type":"page","dropped":{self.dropped}}}')
        return taken

    def _wake(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._changed.set)
        except RuntimeError:  # the server has ended
            pass


class Hub:
    """Reads the events of a session in a thread of its own and serves all browsers from it.

    Parameters
    ----------
    publisher : Publisher
    """

    def __init__(self, publisher: Publisher) -> None:
        self.unreadable = 0  # events that gave no message because of a defect
        self._clients: list[Client] = []
        self._gone = 0  # messages that browsers which left had lost
        self._number = 0
        self._kept: dict[str, deque[tuple[int, Message]]] = {
            kind: deque(maxlen=most) for kind, most in KEPT.items()
        }
        self._notable: deque[tuple[int, Message]] = deque(maxlen=_KEPT_NOTABLE)
        self._lock = threading.Lock()
        self._closing = False
        self._subscription = publisher.subscribe(_FEED_CAPACITY)
        self._thread = threading.Thread(target=self._read, name="page-feed", daemon=True)
        self._thread.start()

    @property
    def clients(self) -> int:
        """Number of connected browsers."""
        return len(self._clients)

    @property
    def dropped(self) -> int:
        """Events and messages that were dropped because the page or a browser was slow."""
        with self._lock:
            lost = sum(client.dropped for client in self._clients)
        return self._subscription.dropped + self._gone + lost

    def join(self) -> Client | None:
        """Register a browser; None if there are too many."""
        with self._lock:
            if self._closing or len(self._clients) >= _MOST_CLIENTS:
                return None
            client = Client(self._snapshot())
            self._clients.append(client)
            return client

    def leave(self, client: Client) -> None:
        """Forget a browser."""
        with self._lock:
            if client in self._clients:
                self._clients.remove(client)
                self._gone += client.dropped

    def close(self) -> None:
        """End all streams and the thread; may be called twice."""
        with self._lock:
            self._closing = True
            clients = list(self._clients)
        self._subscription.close()
        for client in clients:
            client.close()
        self._thread.join(2 * _POLL_S)

    def publish(self, event: Mapping[str, Any]) -> None:
        """Hand an event to all browsers."""
        for message in messages_of(event):
            with self._lock:
                self._number += 1
                numbered = (self._number, message)
                if message.kind in self._kept:
                    self._kept[message.kind].append(numbered)
                if message.notable:
                    self._notable.append(numbered)
                clients = list(self._clients)
            for client in clients:
                client.put(message.body)

    def _snapshot(self) -> str:
        held = {n: m for kept in (*self._kept.values(), self._notable) for n, m in kept}
        bodies = ",".join(held[number].body for number in sorted(held))
        return f'{{"type":"snapshot","events":[{bodies}]}}'

    def _read(self) -> None:
        while not self._closing:
            # pictures cost the session time, so they are asked for only where they are looked at
            self._subscription.previews = bool(self._clients)
            event = self._subscription.get(_POLL_S)
            if event is not None:
                try:
                    self.publish(event)
                except Exception:  # a defect in one event must not end the page
                    self.unreadable += 1
            elif self._subscription.closed:
                return
