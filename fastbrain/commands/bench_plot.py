"""Draw benchmark rows, or the losses of training runs.

fastbrain bench plot rows.jsonl --out plots

fastbrain bench plot --run runs/first runs/second --out plots

Of rows: ratios with intervals, the roofline of each machine, latencies. Of runs: training and
validation loss against the step, all runs in one picture.

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
from ..errors import ConfigError


@dataclass(frozen=True)
class Config:
    """Options of ``fastbrain bench plot``."""

    rows: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="ROWS")] = ()
    """Files of rows from `fastbrain bench run`, or folders of them."""
    run: tuple[Path, ...] = ()
    """Run folders, for their learning curves."""
    out: Path = Path("plots")
    """Folder for the pictures."""


def run(config: Config) -> None:
    """Draw, and print the name of each file."""
    from ..bench.curves import learning_curves
    from ..bench.figures import figures
    from ..bench.rows import read_rows

    if not config.rows and not config.run:
        raise ConfigError(
            "bench plot: rows or --run must be given, got neither. Name a file of `fastbrain bench "
            "run`, or run folders: --run RUN."
        )
    rows = read_rows(config.rows) if config.rows else []
    check_environment(config.out, function="bench plot")
    found = [learning_curves(config.run)] if config.run else []
    found += figures(rows) if config.rows else []
    for figure in found:
        print(write_atomic(config.out / f"{figure.name}.svg", figure.svg))
    if not found:
        say("nothing to draw: no case has a rival")
