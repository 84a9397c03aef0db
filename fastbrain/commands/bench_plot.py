"""Draw benchmark rows: ratios with intervals, the roofline of each machine, latencies.

fastbrain bench plot rows.jsonl --out plots

The pictures are SVG, in colours that people with any colour vision tell apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from .._environment import check_environment
from .._io import write_atomic
from .._progress import say


@dataclass(frozen=True)
class Config:
    """Options of ``fastbrain bench plot``."""

    rows: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="ROWS")]
    """Files of rows from `fastbrain bench run`, or folders of them."""
    out: Path = Path("plots")
    """Folder for the pictures."""


def run(config: Config) -> None:
    """Draw, and print the name of each file."""
    from ..bench.figures import figures
    from ..bench.rows import read_rows

    rows = read_rows(config.rows)
    check_environment(config.out, function="bench plot")
    found = figures(rows)
    for figure in found:
        print(write_atomic(config.out / f"{figure.name}.svg", figure.svg))
    if not found:
        say("nothing to draw: no case has a rival")
