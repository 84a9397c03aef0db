"""Show the quality of every run of a store: a table, and a page with carpet plots and traces.

fastbrain quality store --out quality.html

Without --out the table is printed. Runs that were left out are listed with their reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from .._environment import check_file
from .._progress import say
from ..data import VoxelStore
from ..data.store.quality import stored_table


@dataclass(frozen=True)
class Config:
    """Options of ``fastbrain quality``."""

    store: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="STORE")]
    """Voxel store from `fastbrain prepare`."""
    out: Path | None = None
    """HTML page to write, one file below 5 MB; default: print the table."""


def run(config: Config) -> None:
    """Print the table, or write the page."""
    if config.out is None:
        print(stored_table(VoxelStore.open(config.store)), end="")
        return
    from ..evaluation.report.quality_page import write_quality_page

    check_file(config.out, function="quality")
    store = VoxelStore.open(config.store)
    write_quality_page(store, config.out)
    say(f"{len(store.info.runs)} runs, {len(store.info.excluded)} left out: {config.out}")
