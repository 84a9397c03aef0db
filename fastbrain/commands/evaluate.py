"""Score a trained model beside its controls and write the report.

fastbrain evaluate runs/first --derangements 1000
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from .._progress import say
from ..evaluation.run import evaluate_run
from ..evaluation.table import metrics_table
from ._sampling import SamplingOptions


@dataclass(frozen=True)
class Config(SamplingOptions):
    """Options of ``fastbrain evaluate``."""

    run: Annotated[Path, tyro.conf.Positional] = tyro.MISSING
    """Run folder from `fastbrain train`."""
    derangements: int = 100
    """Permuted brain inputs to compare with, at least 100."""
    bert: bool = True
    """Whether to compute BERTScore."""
    unknown_subject: Literal["refuse", "mean"] | None = None
    """People that the model's table of subjects lacks: an error, or the mean of all entries."""
    device: str = "cpu"
    """Where to decode, e.g. cuda."""


def run(config: Config) -> None:
    """Evaluate and print the scores."""
    result = evaluate_run(
        config.run,
        sampling=config.sampling(),
        count=config.derangements,
        seed=config.seed,
        bert=config.bert,
        device=config.device,
        unknown_subject=config.unknown_subject,
    )
    print(metrics_table(result.scores, derangements=config.derangements))
    say(f"people: {config.run / 'subjects.md'}; report: {config.run / 'report.html'}")
