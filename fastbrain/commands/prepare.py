"""Turn a runs table, a BIDS tree or a study into a voxel store.

fastbrain prepare cohort/runs.tsv store --kernel 4 4 4 --delay 4 --window 4 --test-subjects 06

A study (fastbrain study) brings its own windows, texts and split.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from .._progress import say
from ..data import (
    RunRecord,
    Split,
    Study,
    WindowSpec,
    audit_trials,
    plan_store,
    read_runs_table,
    runs_from_bids,
    write_store,
)
from ..data.events import Trial
from ..data.study import is_study
from ._splits import SplitOptions

Splitter = Callable[[list[Trial]], Split]


@dataclass(frozen=True, kw_only=True)
class Config(SplitOptions):
    """Options of ``fastbrain prepare``."""

    source: Annotated[Path, tyro.conf.Positional]
    """Runs table (TSV), BIDS folder, or folder of a study."""
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
    runs, trials, window, split = _cohort(config)
    plan = plan_store(
        runs,
        window=window,
        kernel=config.kernel,
        split=split,
        mask=config.mask,
        units=config.units,
        high_pass_s=config.high_pass or None,
        ignore=config.ignore,
        trials=trials,
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


def _cohort(
    config: Config,
) -> tuple[tuple[RunRecord, ...], list[Trial] | None, WindowSpec, Split | Splitter]:
    """Runs, trials (None: those of the events files), window and split of the source."""
    if is_study(config.source):
        study = Study.load(config.source)
        study.check_images()
        return study.runs, study.trials, study.window, study.split
    if config.source.is_dir():
        runs = runs_from_bids(config.source, task=config.task, space=config.space)
    else:
        runs = read_runs_table(config.source, allow_outside=config.allow_outside)
    window = WindowSpec(config.delay, config.window, config.onset_offset)
    return runs, None, window, config.splitter("prepare")
