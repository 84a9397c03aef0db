"""Score a trained run with more and more noise in its test recordings; nothing is trained again.

fastbrain study noise runs/first runs/noise --levels 0.5 1 2

The noise is the recording itself with random phases: it has the spectrum of every voxel and the
correlations between voxels of real recordings.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from .._progress import say


@dataclass(frozen=True)
class Config:
    """Options of ``fastbrain study noise``."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Run folder from `fastbrain train`."""
    out: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUT")]
    """Folder of the experiment. The same line goes on where it was interrupted."""
    levels: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0)
    """Standard deviations of the noise over that of the recording; 0 is always scored."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of the noise."""
    store: Path | None = None
    """Folder of the store; default: its recorded path, or the same path relative to the run."""
    derangements: int = 100
    """Number of derangements for the comparison, at least 100."""
    bert: bool = True
    """Whether to compute BERTScore, cosine and identification by meaning; see evaluate."""
    device: str = "cpu"
    """Device for decoding, e.g. cuda."""
    dry_run: bool = False
    """List the levels that would be scored, and stop."""


def run(config: Config) -> None:
    """Score the run at every level, and write and print the table."""
    from ..experiments.noise import check_levels, noise_sweep
    from ..experiments.report import check_report, write_results

    if config.dry_run:
        for level in check_levels(config.levels, config.seeds):
            print(f"noise of {level:g} standard deviations of the recording")
        say(f"dry run: {len(config.seeds)} seeds each; nothing was scored")
        return
    check_report()
    results = noise_sweep(
        config.run,
        config.out,
        levels=config.levels,
        seeds=config.seeds,
        store=config.store,
        count=config.derangements,
        bert=config.bert,
        device=config.device,
    )
    print(write_results(config.out, results, title="Noise added to the test recordings"))
    say(f"table, figure and JSON: {config.out}")
