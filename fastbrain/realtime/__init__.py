"""Volumes from a scanner while it measures: sources of volumes and readers of their files.

Names are imported on first use.
"""

from __future__ import annotations

import importlib
from typing import Any

# public name -> module that defines it
_NAMES = {
    "BadVolume": "volume",
    "Clock": "volume",
    "MonotonicClock": "volume",
    "PushSource": "sources.push",
    "Source": "volume",
    "Volume": "volume",
    "open_source": "sources.spec",
    "read_dicom": "dicom.reader",
}

__all__ = sorted(_NAMES)


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(importlib.import_module(f".{_NAMES[name]}", __name__), name)
    raise AttributeError(f"module 'fastbrain.realtime' has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
