"""Compare pretraining of the encoder on rest, on the task, on both and none, over several seeds.

fastbrain study rest-task rest-store store studies/pretraining

The store at rest is made by fastbrain prepare --no-events, on the grid of the task (--grid-of).
Every encoder is pretrained on as many windows for as many steps; then the same recipe is trained
and scored on the task. Finished runs are kept: the same line goes on.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from .._environment import check_environment
from .._progress import say
from ..data import VoxelStore
from ._training import llm4brain_recipe


@dataclass(frozen=True)
class Config:
    """Options of ``fastbrain study rest-task``."""

    rest: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="REST_STORE")]
    """Store from `fastbrain prepare --no-events`."""
    task: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="TASK_STORE")]
    """Store to train and test on."""
    out: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER")]
    """Folder of the study."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds; every variant is trained once with each."""
    windows: int | None = None
    """Windows of pretraining; default: all of the smaller training part."""
    epochs: int | None = None
    """Passes of pretraining over these windows; default: as configured."""
    config: Path | None = None
    """JSON file with any part of the run configuration; see train --print-config."""
    preset: Literal["fastbrain", "paper", "paper-small", "published-code"] | None = None
    """Instead of --config: settings of fastbrain, of the paper or of its published code."""
    llm: str | None = None
    """Hub name or folder of a causal language model; default: a small one, trained on the texts."""
    cohort: Path | None = None
    """Folder of the cohort of the task, for its clips; default: its path during preparation."""
    derangements: int = 100
    """Number of derangements for the comparison, at least 100."""
    bert: bool = True
    """Whether to compute BERTScore, cosine and identification by meaning; see evaluate."""
    allow_leak: str | None = None
    """Reason why a leak found by the audit is acceptable; included in every report."""
    device: str = "cpu"
    """Device for training, e.g. cuda."""


def run(config: Config) -> None:
    """Pretrain, train and score all variants, and print their table."""
    from ..experiments.report import check_report, write_results
    from ..experiments.rest_against_task import rest_against_task

    recipe = llm4brain_recipe(config, function="study rest-task")
    check_environment(config.out, cache=recipe.llm is None, function="study")
    check_report()
    try:
        found = rest_against_task(
            VoxelStore.open(config.rest),
            VoxelStore.open(config.task, cohort=config.cohort),
            config.out,
            recipe,
            seeds=config.seeds,
            windows=config.windows,
            epochs=config.epochs,
            derangements=config.derangements,
            bert=config.bert,
            allow_leak=config.allow_leak,
            device=config.device,
        )
    except KeyboardInterrupt:
        say("finished runs are kept: the same line goes on")
        raise
    print(write_results(config.out, found, title="Pretraining on rest and on the task"))
    say(f"table, figure and JSON: {config.out}")
