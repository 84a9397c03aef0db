"""Turn a runs table or a BIDS tree into a voxel store.

fastbrain prepare cohort/runs.tsv store --kernel 4 4 4 --delay 4 --window 4 --test-subjects 06
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from .._progress import say
from ..data import (
    Split,
    WindowSpec,
    audit_trials,
    plan_store,
    read_runs_table,
    runs_from_bids,
    split_by,
    split_folds,
    split_unseen,
    write_store,
)
from ..data.events import Trial
from ..errors import ConfigError


@dataclass(frozen=True)
class Config:
    """Options of ``fastbrain prepare``."""

    source: Annotated[Path, tyro.conf.Positional]
    """Runs table (TSV) or BIDS folder."""
    out: Annotated[Path, tyro.conf.Positional]
    """New store folder."""
    kernel: tuple[int, int, int] = (4, 4, 4)
    """Patch size in voxels, z y x."""
    delay: float = 4.0
    """Seconds from onset to the first volume of a window (haemodynamic delay)."""
    window: int = 4
    """Volumes in a window."""
    onset_offset: float = 0.0
    """Seconds added to every onset, e.g. 12 where events ignore dummy volumes."""
    test_subjects: tuple[str, ...] = ()
    """Test on these people and on stimuli nobody else saw."""
    split_by: Literal[
        "run", "subject", "stimulus", "session", "category", "story", "family", "site"
    ] = "run"
    """Without --test-subjects: what --train, --val and --test name, or what folds keep whole."""
    train: tuple[str, ...] = ()
    """Values of the training part."""
    val: tuple[str, ...] = ()
    """Values of the validation part."""
    test: tuple[str, ...] = ()
    """Values of the test part."""
    folds: int | None = None
    """In place of --train, --val and --test: number of cross-validation folds."""
    fold: int = 0
    """Which of the folds to test on, from 0; the next one validates."""
    closed_set: bool = False
    """The texts are a known closed set (categories, say), all of which training may know."""
    val_fraction: float = 0.2
    """With --test-subjects: share of the other people's runs for validation."""
    mask: Path | None = None
    """Brain mask (NIfTI); default: the runs' own, else computed."""
    units: Literal["psc", "zscore"] = "psc"
    """Percent signal change, or standard deviations of the run."""
    high_pass: float = 128.0
    """Shortest drift period removed, seconds; 0 keeps all."""
    ignore: tuple[str, ...] = ()
    """Trial types or texts that are not trials, e.g. rest."""
    task: str | None = None
    """BIDS task."""
    space: str | None = None
    """BIDS space."""
    allow_outside: bool = False
    """Whether paths in the table may leave its folder."""
    resume: bool = False
    """Go on with an interrupted preparation."""
    dry_run: bool = False
    """Check everything and say what would be written."""


def run(config: Config) -> None:
    """Check, then convert."""
    if config.source.is_dir():
        runs = runs_from_bids(config.source, task=config.task, space=config.space)
    else:
        runs = read_runs_table(config.source, allow_outside=config.allow_outside)
    plan = plan_store(
        runs,
        window=WindowSpec(config.delay, config.window, config.onset_offset),
        kernel=config.kernel,
        split=_splitter(config),
        mask=config.mask,
        units=config.units,
        high_pass_s=config.high_pass or None,
        ignore=config.ignore,
    )
    for name, value in plan.summary().items():
        print(f"{name:<12} {value}")
    audit = audit_trials(plan.trials, plan.split)
    print(f"{'audit':<12} {audit.summary()}")
    if not audit.clean:
        say("note: training refuses a split that leaks; see fastbrain audit and --closed-set")
    if config.dry_run:
        say("dry run: nothing was written")
        return
    store = write_store(plan, config.out, resume=config.resume)
    say(f"store {store.fingerprint()} written to {config.out}")


def _splitter(config: Config) -> Callable[[list[Trial]], Split]:
    key, named = config.split_by, (config.train, config.val, config.test)
    if bool(config.test_subjects) + any(named) + (config.folds is not None) > 1:
        raise ConfigError(
            "prepare: a split must be given in one way. Use --test-subjects, or --train, --val and "
            "--test, or --folds."
        )
    if config.test_subjects:
        return lambda trials: split_unseen(
            trials,
            test_subjects=config.test_subjects,
            val_fraction=config.val_fraction,
            closed_set=config.closed_set,
        )
    if config.folds is not None:
        folds, fold = config.folds, config.fold
        if not 0 <= fold < folds:
            raise ConfigError(f"prepare: --fold must be 0..{folds - 1}, got {fold}.")
        return lambda trials: split_folds(trials, key, folds=folds, closed_set=config.closed_set)[
            fold
        ]
    if not all(named):
        raise ConfigError(
            "prepare: a split must be given. Use --test-subjects, all of --train, --val, --test, "
            "or --folds."
        )
    return lambda trials: split_by(
        trials,
        key,
        train=config.train,
        val=config.val,
        test=config.test,
        closed_set=config.closed_set,
    )
