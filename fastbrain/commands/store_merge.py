"""Join stores of one grid and one preparation into a new store.

fastbrain store merge site-a site-b all --statistics refit

The parts of the splits are joined, and training refuses the result where they leak together. Run
files are hard links on one file system.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from .._progress import say
from ..data import VoxelStore, audit_store, merge_stores
from ..errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of ``fastbrain store merge``."""

    stores: Annotated[
        tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="STORE STORE ... NEW-STORE")
    ]
    """Two or more stores, and the new folder."""
    statistics: Literal["refit", "first"]
    """Mean, spread and limits: computed from the training windows of all, or those of the first
    store, for a model that was trained on it."""


def run(config: Config) -> None:
    """Merge the stores, and print the audit of the joined split."""
    if len(config.stores) < 3:
        raise ConfigError(
            f"merge: STORE must be two or more folders before the new one, got "
            f"{len(config.stores)} names in all. Name them: fastbrain store merge A B NEW."
        )
    *sources, out = config.stores
    stores = [VoxelStore.open(path) for path in sources]
    merged = merge_stores(stores, out, statistics=config.statistics)
    audit = audit_store(merged)
    print(f"audit        {audit.summary()}")
    if not audit.clean:
        say(f"note: training refuses this split. {audit.remedy()}")
    say(f"store {merged.fingerprint()} written to {out}")
