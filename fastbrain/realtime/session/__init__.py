"""A live session: one record for each TR, deadlines, events, and a decoder of single windows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .events import Control, Publisher, Subscription
from .ledger import Ledger
from .limits import Limits
from .records import Measured, Outcome, Record
from .session import Session
from .settings import Ending, Settings
from .window_decoder import Decoded, Listener, WindowDecoder
from .writer import Sink

if TYPE_CHECKING:
    from .open_decoder import open_window_decoder

__all__ = [
    "Control",
    "Decoded",
    "Ending",
    "Ledger",
    "Limits",
    "Listener",
    "Measured",
    "Outcome",
    "Publisher",
    "Record",
    "Session",
    "Settings",
    "Sink",
    "Subscription",
    "WindowDecoder",
    "open_window_decoder",
]


def __getattr__(name: str) -> Any:
    # a session that only measures needs no torch
    if name == "open_window_decoder":
        from .open_decoder import open_window_decoder

        return open_window_decoder
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
