"""Volumes from a scanner while it measures: read, preprocessed and decoded within a TR.

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
    "PageServer": "page.server",
    "PreprocessSettings": "preprocess.settings",
    "PushSource": "sources.push",
    "Session": "session.session",
    "Settings": "session.settings",
    "Source": "volume",
    "Volume": "volume",
    "VolumePipeline": "preprocess.pipeline",
    "open_source": "sources.spec",
    "open_window_decoder": "session.open_decoder",
    "read_dicom": "dicom.reader",
    "serve_page": "page.server",
}

__all__ = sorted(_NAMES)


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(importlib.import_module(f".{_NAMES[name]}", __name__), name)
    raise AttributeError(f"module 'fastbrain.realtime' has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
