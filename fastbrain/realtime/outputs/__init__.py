"""Outputs of a live session: log, TCP lines, Lab Streaming Layer, BIDS derivative."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .jsonl import JsonlLog, read_session_log
from .lsl import LslMarkers, LslOutlet
from .tcp import TcpLines

if TYPE_CHECKING:
    from .bids import write_bids_session

__all__ = [
    "JsonlLog",
    "LslMarkers",
    "LslOutlet",
    "TcpLines",
    "read_session_log",
    "write_bids_session",
]


def __getattr__(name: str) -> Any:
    # the readers of BIDS tables import torch, which a session that only measures does not need
    if name == "write_bids_session":
        from .bids import write_bids_session

        return write_bids_session
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
