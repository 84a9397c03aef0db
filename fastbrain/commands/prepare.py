"""Turn a runs table, a BIDS tree or a study into a voxel store.

fastbrain prepare cohort/runs.tsv store --kernel 4 4 4 --delay 4 --window 4 --test-subjects 06
fastbrain prepare new/runs.tsv new-store --like runs/demo/run

fastbrain prepare cohort/runs.tsv rest-store --no-events --train 01 --val 02 --grid-of store

A study (fastbrain study) brings its own windows, texts and split. With --like a trained run or its
store brings everything: the new store is only decoded, so its events need no text. With
--no-events windows follow each other at a fixed step: recordings at rest, for fastbrain train scmbm
alone.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

from .._progress import say
from ..data import audit_trials, plan_like, plan_rest, write_store
from ..data.store.plan import StorePlan
from ..data.store.preparation import open_preparation
from ..data.studies.study import is_study
from ..errors import ConfigError
from ._preparation import PreparationOptions
from ._splits import SplitOptions

_SPLIT = tuple(field.name for field in fields(SplitOptions))
_LIKE = ("kernel", "delay", "window", "onset_offset", "mask", "units", "high_pass", *_SPLIT)


# options that say where a window lies in a trial, or what a test part on texts needs
_OF_TRIALS = (
    *("delay", "onset_offset", "ignore", "late"),
    *("test_subjects", "new_stimuli", "closed_set", "val_fraction"),
)
_GRID = ("kernel", "window", "mask", "units", "high_pass")


@dataclass(frozen=True, kw_only=True)
class Config(SplitOptions, PreparationOptions):
    """Options of ``fastbrain prepare``."""

    like: Path | None = None
    """Run folder or store that gives grid, filter, windows and statistics; all trials are for
    testing."""
    no_events: bool = False
    """Windows at a fixed step, without texts: the store only pretrains the encoder."""
    every: int | None = None
    """With --no-events: volumes from one window to the next; default: those of a window."""
    grid_of: Path | None = None
    """With --no-events: store (or run) that gives grid, window length, units and filter."""
    resume: bool = False
    """Resume an interrupted preparation."""
    dry_run: bool = False
    """Check all inputs and print what would be written."""


def run(config: Config) -> None:
    """Check the inputs, then write the store."""
    plan = _plan(config)
    for name, value in plan.summary().items():
        print(f"{name:<12} {value}")
    if plan.split.train and not config.no_events:
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
    if config.no_events:
        return _without_events(config)
    config.refuse_set(
        ("every", "grid_of"), "a store with events", "which has its own windows. Add --no-events"
    )
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


def _without_events(config: Config) -> StorePlan:
    config.refuse_set(
        (*_OF_TRIALS, "like"), "--no-events", "as its windows are not those of trials"
    )
    if config.grid_of is not None:
        config.refuse_set(_GRID, f"--grid-of {config.grid_of}")
    if is_study(config.source):
        raise ConfigError(
            f"prepare: --no-events must be given with a runs table or a BIDS folder, got the study "
            f"{config.source}."
        )
    split = config.splitter("prepare", need_test=False)
    runs, *_ = config.cohort(need_events=False)
    return plan_rest(
        runs,
        split=split,
        window_trs=config.window,
        every=config.every,
        kernel=config.kernel,
        mask=config.mask,
        units=config.units,
        high_pass_s=config.high_pass_s,
        grid_of=None if config.grid_of is None else open_preparation(config.grid_of),
    )
