"""Add new subjects or runs to a store: a new store with the runs of both.

fastbrain store append store new/runs.tsv longer --into test --statistics keep

New runs get grid, filter, windows, units and stored integers of the store, which is not changed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from .._progress import say
from ..data import VoxelStore, append_runs, audit_store, read_runs_table, runs_from_bids
from ..errors import ConfigError
from ._bids import ImageOptions
from ._throughput import JobOptions


@dataclass(frozen=True, kw_only=True)
class Config(ImageOptions, JobOptions):
    """Options of ``fastbrain store append``."""

    store: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="STORE")]
    """Voxel store from `fastbrain prepare`."""
    source: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="SOURCE")]
    """Runs table (TSV) or BIDS folder of the new runs."""
    out: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="NEW-STORE")]
    """New folder."""
    into: Literal["train", "val", "test"]
    """Part of the split that all new trials belong to."""
    statistics: Literal["refit", "keep"]
    """Mean, spread and limits: computed from the training windows of all runs, or those of the
    store, for a model that was trained on it."""
    task: str | None = None
    """BIDS task."""
    ignore: tuple[str, ...] = ()
    """Trial types or texts that are not trials, e.g. rest."""
    late: Literal["error", "drop"] = "error"
    """Trials with a window that leaves the run: an error, or left out and listed."""


def run(config: Config) -> None:
    """Convert the new runs, and write the store of all."""
    store = VoxelStore.open(config.store)
    if config.source.is_dir():
        runs = runs_from_bids(
            config.source,
            task=config.task,
            space=config.space,
            allow_outside=config.allow_outside,
            **config.image_entities(),
        )
    elif config.task is not None or config.space is not None:
        raise ConfigError(
            f"append: --task and --space must be left out for a runs table, {config.source}, which "
            "says it itself. Change it there."
        )
    else:
        runs = read_runs_table(config.source, allow_outside=config.allow_outside)
    longer = append_runs(
        store,
        runs,
        config.out,
        part=config.into,
        statistics=config.statistics,
        ignore=config.ignore,
        late=config.late,
        n_jobs=config.n_jobs,
        dask=config.dask,
    )
    audit = audit_store(longer)
    print(f"audit        {audit.summary()}")
    if not audit.clean:
        say(f"note: training refuses this split. {audit.remedy()}")
    say(f"store {longer.fingerprint()} written to {config.out}")
