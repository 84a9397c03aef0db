"""Provenance of a run: package versions and the git commit of the fastbrain checkout."""

from __future__ import annotations

import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from .. import __version__
from .._git import git

_PACKAGES = ("torch", "transformers", "accelerate", "numpy")
_PARTS = ("fastbrain", "kernels", "csrc")


def provenance() -> dict[str, Any]:
    """Collect versions and git state, as JSON values for a run's record.

    Returns
    -------
    dict
        ``versions``: package to version. ``git``: ``commit`` and ``dirty`` (whether a file of the
        package differs from the commit), or None if fastbrain does not run from a checkout or git
        fails.
    """
    return {"versions": _versions(), "git": git_state(Path(__file__).parents[2])}


@cache
def git_state(root: Path) -> dict[str, Any] | None:
    """Commit of the checkout at `root` and whether the package differs from it, or None."""
    if not (root / ".git").exists():
        return None
    commit = git(root, "rev-parse", "HEAD")
    status = git(root, "status", "--porcelain", "--", *_PARTS)
    if commit is None or status is None:
        return None
    return {"commit": commit, "dirty": bool(status)}


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "fastbrain": __version__}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found
