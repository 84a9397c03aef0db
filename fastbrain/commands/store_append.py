"""Add new subjects or runs to a store: a new store with the runs of both.

fastbrain store append store new/runs.tsv longer --into test --statistics keep

fastbrain store append store raw longer --derivatives fmriprep --into test --statistics keep

New runs get grid, filter, windows, units and stored integers of the store, which is not changed.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Literal

import tyro

from .._progress import say
from ..data import VoxelStore, append_runs, audit_store, read_runs_table, runs_from_bids
from ..errors import ConfigError
from ._bids import DerivativeOptions, ImageOptions
from ._kinds import given_options
from ._throughput import JobOptions

# options that say which files of a BIDS folder are meant
_OF_A_FOLDER = (
    "task",
    *(field.name for field in fields(ImageOptions) if field.name != "allow_outside"),
    *(field.name for field in fields(DerivativeOptions)),
)


@dataclass(frozen=True, kw_only=True)
class Config(ImageOptions, DerivativeOptions, JobOptions):
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
    """Trials with a window that leaves the run: stop with an error, or drop and list them."""


def run(config: Config) -> None:
    """Convert the new runs, and write the store of all."""
    store = VoxelStore.open(config.store)
    if config.source.is_dir():
        runs = runs_from_bids(
            config.source,
            task=config.task,
            space=config.space,
            allow_outside=config.allow_outside,
            derivatives=config.derivatives,
            missing=config.missing,
            **config.image_entities(),
        )
    else:
        if given := given_options(config, _OF_A_FOLDER):
            raise ConfigError(
                f"append: {', '.join(given)} must be left out for a runs table, {config.source}, "
                "which says it itself. Change it there."
            )
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
