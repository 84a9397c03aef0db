"""Test every person of a resting study once with vq-lm: train and score fold by fold.

fastbrain leave-out vq-lm rest-study runs/people --folds 5

A family is in one fold; the fold after the tested one chooses epochs and calibrates. Finished folds
are kept: the same line goes on.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro

from .._io import read_json
from .._progress import say
from ..data.studies.connectome_study import read_rest
from ._training import given


@dataclass(frozen=True)
class Config:
    """Options of ``fastbrain leave-out vq-lm``."""

    study: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="STUDY")]
    """Folder of participants.tsv, series/ and study.json; see docs/vq.md."""
    out: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER")]
    """Folder of the folds."""
    folds: int = 5
    """Number of folds of whole families, 3 or more."""
    config: Path | None = None
    """JSON file with any part of the configuration; see train vq-lm --print-config."""
    llm: str | None = None
    """Name or folder of a causal language model; default: a small one, trained in each fold."""
    target: str | None = None
    """Column to predict; default: as configured (age)."""
    seed: int = 0
    """Seed of the folds and permutations."""


def run(config: Config) -> None:
    """Run all folds, then print the pooled scores in one table."""
    from ..integrations.peft import accelerate_peft
    from ..vqlm.cross_validation import leave_out_people
    from ..vqlm.training.config import VQLMConfig

    whole = VQLMConfig.from_dict(read_json(config.config)) if config.config else VQLMConfig()
    whole = replace(whole, **given(config, "llm", "target"))
    try:
        found = leave_out_people(
            read_rest(config.study),
            config.out,
            whole,
            folds=config.folds,
            seed=config.seed,
            fused=accelerate_peft,
        )
    except KeyboardInterrupt:
        say("finished folds are kept: the same line goes on")
        raise
    print(found.table())
    say(f"all people: {config.out / 'subjects.md'}")
