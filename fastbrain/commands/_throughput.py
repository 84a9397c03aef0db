"""Options for the speed of preparation and the size of a store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class JobOptions:
    """Processes that convert runs."""

    n_jobs: int = 1
    """Runs converted at a time, in processes; -1: one a core. The store is the same."""
    dask: str | None = None
    """Address of a dask scheduler that converts the runs instead, e.g. tcp://10.0.0.1:8786."""


@dataclass(frozen=True, kw_only=True)
class ThroughputOptions(JobOptions):
    """Processes that convert runs, and the integers that are stored."""

    dtype: Literal["int16", "int8"] = "int16"
    """Stored integers; int8 takes half the space, with a scale for each run."""
