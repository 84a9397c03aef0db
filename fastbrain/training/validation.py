"""Mean loss over the validation trials."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from .._shards import Part
from ..nn import shards
from .data_parallel import add_numbers, windows_of
from .processes import processes
from .run import Loader
from .step import Objective


def mean_validation(
    objective: Objective, loader: Loader | None
) -> Callable[[], dict[str, float]] | None:
    """Create a function that averages every loss term over a loader, with equal trial weights."""
    return None if loader is None else lambda: mean_terms(objective, loader)


def mean_terms(objective: Objective, loader: Loader) -> dict[str, float]:
    """Average every loss term over a loader, with equal trial weights."""
    sums: dict[str, float] = {}
    trials = 0
    with divided(loader) as shared:
        for batch in loader:
            n = windows_of(batch)
            trials += n
            with shards.within(getattr(batch, "shard", None)):
                terms = objective(batch)
            for name, value in terms.items():
                sums[name] = sums.get(name, 0.0) + n * float(value)
    totals = add_numbers(*sums.values()) if shared else list(sums.values())
    return {name: total / trials for name, total in zip(sums, totals, strict=True)}


@contextmanager
def divided(loader: Any) -> Iterator[bool]:
    """Context manager in which a loader yields the rows of this process only.

    Yields whether it does; a loader without the method `divide` yields whole batches to all.
    """
    team = processes()
    if team.alone or not hasattr(loader, "divide"):
        yield False
        return
    loader.divide(team.part)
    try:
        yield True
    finally:
        loader.divide(Part())
