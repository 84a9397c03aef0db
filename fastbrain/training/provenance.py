"""Provenance of a run: package versions and the git commit of the fastbrain checkout."""

from __future__ import annotations

import os
import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from .. import __version__

_PACKAGES = ("torch", "transformers", "accelerate", "numpy")
_PARTS = ("fastbrain", "kernels", "csrc")
_PATIENCE_S = 10


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
    commit = _git(root, "rev-parse", "HEAD")
    status = _git(root, "status", "--porcelain", "--", *_PARTS)
    if commit is None or status is None:
        return None
    return {"commit": commit.strip(), "dirty": bool(status.strip())}


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments],
            capture_output=True,
            text=True,
            timeout=_PATIENCE_S,
            stdin=subprocess.DEVNULL,
            # git status must not write to the checkout
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    return done.stdout if done.returncode == 0 else None


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "fastbrain": __version__}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found
