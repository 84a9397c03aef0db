"""Fit a trained model to a new person, on a few labelled runs of that person.

fastbrain adapt runs/first store runs/first-09 --subject sub-09 --runs 2

Of LLM4Brain the entry of the person is fitted, of BrainLLM the decoder; principal components stay
those of the first training. The runs are recorded and never scored; fastbrain evaluate scores the
others.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from .._progress import say
from ..data import VoxelStore
from ._kinds import refuse_options
from ._training import given

_VQLM = (
    "It reads one recording of each person, so there is nothing to fit to a person: train on "
    "people of the new site (train vq-lm), or decode them as they are."
)


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
    from .._run_kind import require_kind
    from ..training.few_shot_plan import plan_few_shot
    from ..training.trackers import check_trackers

    check_trackers(config.log, function="adapt")
    kind = "llm4brain"
    if not (config.run / "grid.safetensors").is_file():  # a saved model of LLM4Brain
        kind = require_kind(config.run, "llm4brain", "brainllm", function="adapt", instead=_VQLM)
    if kind == "brainllm":
        refuse_options(config, ["kind", "adapters"], function="adapt", kind=kind)
    store = VoxelStore.open(config.store)
    plan = plan_few_shot(store, config.subject, config.runs, score_runs=config.score_runs)
    print(f"fitted on    {len(plan.train)} windows, stopped by {len(plan.val)}")
    print(f"runs         {', '.join(plan.runs)}, never scored")
    print(f"scored later {len(plan.scored)} windows")
    if config.dry_run:
        say("dry run: nothing was fitted")
        return
    _adapt(config, store, kind)
    say(f"model written to {config.out / 'model'}; next: fastbrain evaluate {config.out}")


def _adapt(config: Config, store: VoxelStore, kind: str) -> None:
    how: dict[str, Any] = {
        "subject": config.subject,
        "runs": config.runs,
        "score_runs": config.score_runs,
        "allow_leak": config.allow_leak,
        "device": config.device,
        "log": config.log,
    }
    changed = given(config, "epochs")
    if kind == "brainllm":
        from ..brainllm.training.adapt import ADAPT as TUNE
        from ..brainllm.training.adapt import adapt_brainllm

        adapt_brainllm(config.run, store, config.out, config=replace(TUNE, **changed), **how)
        return
    from ..llm4brain.training.few_shot import ADAPT, adapt

    stage = replace(ADAPT, **changed)
    how |= {"kind": config.kind, "adapters": config.adapters}
    adapt(config.run, store, config.out, config=stage, **how)
