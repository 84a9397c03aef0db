"""Turn a runs table, a BIDS tree or a study into a voxel store.

fastbrain prepare cohort/runs.tsv store --kernel 4 4 4 --delay 4 --window 4 --test-subjects 06
fastbrain prepare new/runs.tsv new-store --like runs/demo/run

A study (fastbrain study) brings its own windows, texts and split. With --like a trained run or its
store brings everything: the new store is only decoded, so its events need no text.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

from .._progress import say
from ..data import audit_trials, plan_like, write_store
from ..data.store.plan import StorePlan
from ..data.store.preparation import open_preparation
from ..data.studies.study import is_study
from ..errors import ConfigError
from ._preparation import PreparationOptions
from ._splits import SplitOptions

_SPLIT = tuple(field.name for field in fields(SplitOptions))
_LIKE = ("kernel", "delay", "window", "onset_offset", "mask", "units", "high_pass", *_SPLIT)


@dataclass(frozen=True, kw_only=True)
class Config(SplitOptions, PreparationOptions):
    """Options of ``fastbrain prepare``."""

    like: Path | None = None
    """Run folder or store that gives grid, filter, windows and statistics; all trials are for
    testing."""
    resume: bool = False
    """Resume an interrupted preparation."""
    dry_run: bool = False
    """Check all inputs and print what would be written."""


def run(config: Config) -> None:
    """Check the inputs, then write the store."""
    plan = _plan(config)
    for name, value in plan.summary().items():
        print(f"{name:<12} {value}")
    if plan.split.train:
        audit = audit_trials(plan.trials, plan.split)
        print(f"{'audit':<12} {audit.summary()}")
        if not audit.clean:
            say(f"note: training refuses this split. {audit.remedy()}")
    if config.dry_run:
        for note in plan.notes():
            say(f"note: {note}")
        say("dry run: nothing was written")
        return
    store = write_store(plan, config.out, resume=config.resume)
    say(f"store {store.fingerprint()} written to {config.out}")


def _plan(config: Config) -> StorePlan:
    if config.like is None:
        return config.plan(lambda: config.splitter("prepare"))
    config.refuse_set(_LIKE, f"--like {config.like}")
    if is_study(config.source):
        raise ConfigError(
            f"prepare: --like must be given with a runs table or a BIDS folder, got the study "
            f"{config.source}."
        )
    runs, *_ = config.cohort()
    return plan_like(runs, open_preparation(config.like), ignore=config.ignore, late=config.late)
