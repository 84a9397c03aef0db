"""A full disk, and what is in a folder after it."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import NoReturn


def no_space(*_args: object, **_options: object) -> NoReturn:
    """Raise what the system raises for a full disk."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def names(folder: Path) -> list[str]:
    """Names in a folder, sorted."""
    return sorted(path.name for path in folder.iterdir())
