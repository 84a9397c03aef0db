"""What the page asks of a session: a feed of events and three commands."""

from __future__ import annotations

from typing import Any, Protocol


class Subscribed(Protocol):
    """Subscription to a feed; :class:`fastbrain.realtime.session.Subscription` is one."""

    previews: bool

    @property
    def dropped(self) -> int:
        """Number of events that were dropped."""

    @property
    def closed(self) -> bool:
        """Whether there will be no further event."""

    def get(self, timeout: float = 0.0) -> dict[str, Any] | None:
        """Return the oldest event; None if there is none within `timeout` seconds."""

    def close(self) -> None:
        """Take no further events."""


class Feed(Protocol):
    """Source of events; :class:`fastbrain.realtime.session.Publisher` is one."""

    def subscribe(self, capacity: int = 256, *, previews: bool = False) -> Subscribed:
        """Return a new subscription."""


class Commands(Protocol):
    """Commands to a session; :class:`fastbrain.realtime.session.Control` is one."""

    def start(self) -> None:
        """Begin the session."""

    def stop(self) -> None:
        """End the session."""

    def mark(self, label: str) -> None:
        """Note a label at the newest volume."""
