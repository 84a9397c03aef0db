"""Put evaluated runs side by side, with paired tests on the samples they share.

fastbrain compare runs/first runs/second --out comparison.json

Runs of LLM4Brain and of BrainLLM on one store share their test windows; runs of vq-lm are compared
on the test people they share.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from .._environment import check_file
from .._io import write_json
from .._progress import say
from .._runfiles import read_manifest, read_metrics
from ..errors import InputError

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
    from ..vqlm.compare import compare_vqlm

    if config.out is not None:
        check_file(config.out, function="compare")
    compare = compare_vqlm if _of_people(config.runs) else compare_runs
    found = compare(config.runs, seed=config.seed)
    print(comparison_table(found))
    for note in found.notes:
        say(f"note: {note}")
    if config.out is not None:
        write_json(config.out, found.to_json())


def _of_people(runs: Sequence[Path]) -> bool:
    """Whether the runs predict values of people (vq-lm); raise if only some of them do."""
    found = {}
    for run in runs:
        path = run / "metrics.json"
        if not path.is_file():
            if (run / "grids").is_dir():
                from ..evaluation.run_store import one_grid

                one_grid(run, read_manifest(run, function="compare"), function="compare")
            raise InputError(
                f"compare: {run} must be evaluated, got no metrics.json. Run fastbrain evaluate."
            )
        kind = str(read_metrics(path, function="compare").get("kind", ""))
        found[run] = kind.startswith("vq-lm")
    if len(set(found.values())) > 1:
        people = ", ".join(str(run) for run, known in found.items() if known)
        raise InputError(
            f"compare: runs must all decode text or all be of vq-lm, got {people} of vq-lm beside "
            "runs that decode text: they share no samples and no metric."
        )
    return any(found.values())


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
