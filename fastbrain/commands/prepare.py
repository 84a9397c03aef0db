"""Turn a runs table, a BIDS tree or a study into a voxel store.

fastbrain prepare cohort/runs.tsv store --kernel 4 4 4 --delay 4 --window 4 --test-subjects 06

A study (fastbrain study) brings its own windows, texts and split.
"""

from __future__ import annotations

from dataclasses import dataclass

from .._progress import say
from ..data import audit_trials, write_store
from ._preparation import PreparationOptions
from ._splits import SplitOptions


@dataclass(frozen=True, kw_only=True)
class Config(SplitOptions, PreparationOptions):
    """Options of ``fastbrain prepare``."""

    resume: bool = False
    """Resume an interrupted preparation."""
    dry_run: bool = False
    """Check all inputs and print what would be written."""


def run(config: Config) -> None:
    """Check the inputs, then write the store."""
    plan = config.plan(lambda: config.splitter("prepare"))
    for name, value in plan.summary().items():
        print(f"{name:<12} {value}")
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
