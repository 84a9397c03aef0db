"""Write one page with tables and pictures of benchmark rows; it opens without a network.

fastbrain bench report rows.jsonl --out report.html
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from .._environment import check_file
from .._io import write_atomic


@dataclass(frozen=True)
class Config:
    """Options of ``fastbrain bench report``."""

    rows: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="ROWS")]
    """Files of rows from `fastbrain bench run`, or folders of them."""
    out: Path = Path("report.html")
    """File for the page."""


def run(config: Config) -> None:
    """Write the page, and print its name."""
    from ..bench.page import page
    from ..bench.rows import read_rows

    rows = read_rows(config.rows)
    check_file(config.out, function="bench report")
    print(write_atomic(config.out, page(rows)))
