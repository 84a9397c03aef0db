"""Fit a trained model to a new person, on a few labelled runs of that person.

fastbrain adapt runs/first store runs/first-09 --subject sub-09 --runs 2

The runs are recorded and never scored; fastbrain evaluate scores the others.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro

from .._progress import say
from ..data import VoxelStore
from ._training import given


@dataclass(frozen=True)
class Config:
    """Options of ``fastbrain adapt``."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Run folder from `fastbrain train`, or a saved model."""
    store: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="STORE")]
    """Voxel store with the person, prepared as that of training was."""
    out: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="NEW-RUN")]
    """New run folder."""
    subject: str
    """Label of the person, e.g. sub-09."""
    runs: int
    """Number of runs to fit on, from the first; of two or more the last decides when to stop."""
    score_runs: tuple[str, ...] = ()
    """Run ids to score; default: all others of the person in the test part."""
    kind: Literal["embedding", "affine"] | None = None
    """For a model without a table of subjects: kind of parameters fitted for the person."""
    adapters: bool = False
    """Also tune the low-rank adapters; this changes the decoding of earlier people too."""
    epochs: int | None = None
    """Passes over the runs; default: as configured (20)."""
    allow_leak: str | None = None
    """Reason why a leak found by the audit is acceptable; included in every report."""
    device: str = "cpu"
    """Device for training, e.g. cuda."""
    log: tuple[str, ...] = ()
    """Trackers that get the numbers of every epoch: tensorboard, wandb, trackio."""
    dry_run: bool = False
    """Print which runs adapt and which are scored, and stop."""


def run(config: Config) -> None:
    """Print which runs adapt and which are scored, then train."""
    from ..llm4brain.training.few_shot import ADAPT, adapt, plan_few_shot
    from ..training.trackers import check_trackers

    check_trackers(config.log, function="adapt")
    store = VoxelStore.open(config.store)
    plan = plan_few_shot(store, config.subject, config.runs, score_runs=config.score_runs)
    print(f"fitted on    {len(plan.train)} windows, stopped by {len(plan.val)}")
    print(f"runs         {', '.join(plan.runs)}, never scored")
    print(f"scored later {len(plan.scored)} windows")
    if config.dry_run:
        say("dry run: nothing was fitted")
        return
    adapt(
        config.run,
        store,
        config.out,
        subject=config.subject,
        runs=config.runs,
        score_runs=config.score_runs,
        kind=config.kind,
        adapters=config.adapters,
        config=replace(ADAPT, **given(config, "epochs")),
        allow_leak=config.allow_leak,
        device=config.device,
        log=config.log,
    )
    say(f"model written to {config.out / 'model'}; next: fastbrain evaluate {config.out}")
