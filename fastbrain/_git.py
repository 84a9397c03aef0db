"""What git says of a checkout of fastbrain."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

_PATIENCE_S = 10


def git(root: Path, *arguments: str) -> str | None:
    """Return the output of a git command in the checkout at `root`, or None if it fails."""
    try:
        ran = subprocess.run(
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
    return ran.stdout.strip() if ran.returncode == 0 else None
