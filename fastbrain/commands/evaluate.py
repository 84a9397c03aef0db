"""Score a trained model beside its controls and write the report.

fastbrain evaluate runs/first --derangements 1000

A run of vq-lm is scored on its test people, beside baselines without codes or language model.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import tyro

from .._progress import say
from ._kinds import refuse_options
from ._sampling import SamplingOptions


@dataclass(frozen=True)
class Config(SamplingOptions):
    """Options of ``fastbrain evaluate``."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")] = tyro.MISSING
    """Run folder from `fastbrain train`."""
    derangements: int = 100
    """Number of derangements for the comparison, at least 100."""
    bert: bool = True
    """Whether to compute BERTScore."""
    store: Path | None = None
    """Folder of the store; default: its recorded path, or the same path relative to the run."""
    study: Path | None = None
    """For a run of vq-lm: folder of its study; default: its recorded path."""
    unknown_subject: Literal["refuse", "mean"] | None = None
    """People that the model's table of subjects lacks: an error, or the mean of all entries."""
    participants: Path | None = None
    """Table of people (participants.tsv), for scores by the columns of --by."""
    by: tuple[str, ...] = ()
    """Columns of that table, e.g. sex age; numbers are divided at their median."""
    device: str = "cpu"
    """Device for decoding, e.g. cuda."""


def run(config: Config) -> None:
    """Evaluate and print the scores."""
    from .._run_kind import run_kind

    kind = run_kind(config.run, function="evaluate")
    if kind == "vq-lm":
        _people(config)
        return
    refuse_options(config, ["study"], function="evaluate", kind=kind)
    _texts(config, kind)


def _people(config: Config) -> None:
    from ..vqlm.evaluate_run import evaluate_vqlm_run

    names = [f.name for f in fields(Config) if f.name not in ("run", "study", "seed", "bert")]
    refuse_options(config, names, function="evaluate", kind="vq-lm")
    print(evaluate_vqlm_run(config.run, config.study, seed=config.seed).table())
    say(f"people: subjects.md; report: report.html; for a paper: paper/; in {config.run}")


def _texts(config: Config, kind: str) -> None:
    from ..brainllm.evaluate import evaluate_brainllm_run, refuse_unknown_subject
    from ..evaluation.report.table import metrics_table
    from ..llm4brain import evaluate_run

    if kind == "brainllm":
        refuse_unknown_subject("evaluate", config.unknown_subject)
        judge = evaluate_brainllm_run
    else:
        judge = partial(evaluate_run, unknown_subject=config.unknown_subject)
    result = judge(
        config.run,
        store=config.store,
        sampling=config.sampling(),
        count=config.derangements,
        seed=config.seed,
        bert=config.bert,
        participants=config.participants,
        by=config.by,
        device=config.device,
    )
    print(metrics_table(result.scores, derangements=config.derangements, facts=result.facts))
    say(f"people: subjects.md; report: report.html; for a paper: paper/; in {config.run}")
