"""Why a provider takes no part: a package that is not installed, a GPU that is not there."""

from __future__ import annotations

from importlib.util import find_spec

from ..registry import Setting


def missing(module: str, install: str) -> str | None:
    """None if a module can be imported, or how to install it."""
    return None if find_spec(module) is not None else f"not installed: pip install {install}"


def needs_gpu(setting: Setting) -> str | None:
    """None on a GPU."""
    return None if setting.on_gpu else "needs a CUDA GPU"


def first(*reasons: str | None) -> str | None:
    """The first reason that there is."""
    return next((reason for reason in reasons if reason is not None), None)
