"""Preparation of a store in a work folder; it is moved to its place when it is complete."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from .._io import as_disk_error, folder_atomic
from ..errors import ConfigError


def check_work_folder(work: Path, source: Path, out: Path) -> None:
    """Raise for a work folder in the input data or among the results.

    Raises
    ------
    ConfigError
    """
    place = os.path.realpath(work)
    for what, folder in (("the input data", source), ("the results", out)):
        if Path(place).is_relative_to(os.path.realpath(folder)):
            raise ConfigError(
                f"bids-app: -w must be a folder outside of {what}, {folder}, got {work}. Name "
                "another one."
            )


def move_folder(made: Path, out: Path) -> None:
    """Move a complete folder; `out` is complete or does not exist, also on another disk.

    Raises
    ------
    OutputExistsError
        `out` exists.
    DiskError
        The disk is full or read-only.
    """
    with folder_atomic(out) as root, as_disk_error(out):
        if os.stat(made).st_dev == os.stat(root).st_dev:
            for entry in sorted(made.iterdir()):
                os.replace(entry, root / entry.name)
        else:
            shutil.copytree(made, root, dirs_exist_ok=True)
            for file in root.rglob("*"):
                if file.is_file():
                    with open(file, "rb") as handle:
                        os.fsync(handle.fileno())
    shutil.rmtree(made)
