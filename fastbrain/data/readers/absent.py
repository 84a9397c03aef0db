"""Images of runs that are not on disk."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..._arguments import checked
from ...errors import some
from .runs_table import RunRecord

# git-annex keys contain the size of the file
_ANNEX_BYTES = re.compile(r"-s(\d+)-")


@dataclass(frozen=True)
class Absent:
    """Images of a cohort that are not on disk.

    Parameters
    ----------
    missing, links : tuple of Path
        Files that do not exist; links of git-annex or DataLad to data that was not fetched.
    nbytes : int
        Total size of the linked files, as far as the links contain it.
    """

    missing: tuple[Path, ...]
    links: tuple[Path, ...]
    nbytes: int

    def __len__(self) -> int:
        return len(self.missing) + len(self.links)

    def __str__(self) -> str:
        parts = []
        if self.missing:
            parts.append(f"{len(self.missing)} do not exist: {some(list(self.missing))}")
        if self.links:
            size = f" ({self.nbytes / 1e9:.1f} GB)" if self.nbytes else ""
            links = some(list(self.links))
            parts.append(f"{len(self.links)} are links to data not fetched{size}: {links}")
        return "; ".join(parts) or "none"


@checked
def absent_images(runs: Iterable[RunRecord]) -> Absent:
    """Find the images of runs that are not on disk."""
    return absent_files(run.bold for run in runs)


def absent_files(paths: Iterable[Path]) -> Absent:
    """Find the files that are not on disk."""
    missing, links, nbytes = [], [], 0
    for path in paths:
        if path.is_file():
            continue
        if path.is_symlink():
            links.append(path)
            size = _ANNEX_BYTES.search(Path(os.readlink(path)).name)
            nbytes += int(size.group(1)) if size else 0
        else:
            missing.append(path)
    return Absent(tuple(missing), tuple(links), nbytes)
