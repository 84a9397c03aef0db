"""Mean loss over the validation trials."""

from __future__ import annotations

from collections.abc import Callable

from .loop import Objective
from .run import Loader


def mean_validation(
    objective: Objective, loader: Loader | None
) -> Callable[[], dict[str, float]] | None:
    """Create a function that averages every loss term over a loader, with equal trial weights."""
    if loader is None:
        return None

    def mean_terms() -> dict[str, float]:
        sums: dict[str, float] = {}
        trials = 0
        for batch in loader:
            n = len(batch.trial_ids)
            trials += n
            for name, value in objective(batch).items():
                sums[name] = sums.get(name, 0.0) + n * float(value)
        return {name: total / trials for name, total in sums.items()}

    return mean_terms
