"""Benchmarks of the ops: every case, every provider, and what was measured.

Names are imported on first use, so that reading rows does not import torch.
"""

from __future__ import annotations

import importlib
from typing import Any

# public name -> module that defines it
_NAMES = {"Entry": "registry", "Problem": "registry", "Provider": "registry", "Setting": "registry"}

__all__ = sorted(_NAMES)


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(importlib.import_module(f".{_NAMES[name]}", __name__), name)
    raise AttributeError(f"module 'fastbrain.bench' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
