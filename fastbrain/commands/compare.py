"""Put evaluated runs side by side, with paired tests on the samples they share.

fastbrain compare runs/first runs/second --out comparison.json
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from .._environment import check_file
from .._io import write_json
from .._progress import say

if TYPE_CHECKING:
    from ..evaluation import Comparison


@dataclass(frozen=True)
class Config:
    """Options of ``fastbrain compare``."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Run folders after `fastbrain evaluate`; the others are compared with the first."""
    out: Path | None = None
    """JSON file for the comparison."""
    seed: int = 0
    """Seed of intervals and sign flips."""


def run(config: Config) -> None:
    """Compare the runs and print the table."""
    from ..evaluation import compare_runs

    if config.out is not None:
        check_file(config.out, function="compare")
    found = compare_runs(config.runs, seed=config.seed)
    print(comparison_table(found))
    for note in found.notes:
        say(f"note: {note}")
    if config.out is not None:
        write_json(config.out, found.to_json())


def comparison_table(found: Comparison) -> str:
    """Format the differences to the first run as aligned text."""
    from ..evaluation.report.table import TITLES, aligned

    rows = [
        {
            "run": d.run,
            "metric": TITLES.get(d.metric, d.metric),
            "value": f"{d.value:.3f}",
            "first": f"{d.first:.3f}",
            "interval": "-"
            if d.interval is None
            else f"{d.interval.low:+.3f} to {d.interval.high:+.3f}",
            "p": f"{d.p:.4f}",
            "adjusted": f"{d.adjusted:.4f}",
        }
        for d in found.differences
    ]
    columns = {"run": "run", "metric": "metric", "value": "score", "first": found.runs[0]}
    columns |= {"interval": "95 % of the difference", "p": "p", "adjusted": "p adjusted"}
    end = (
        f"{found.n} shared samples in {found.n_blocks} blocks; p two-sided, by sign flips of blocks"
    )
    return f"{aligned(rows, columns)}\n{end}"
