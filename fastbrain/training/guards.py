"""Guard that skips optimiser steps with a non-finite loss or gradient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .._progress import say
from ..errors import TrainingError

_LIMIT = 3


def places(batch: Any) -> tuple[str, ...]:
    """Run and volumes of each sample of a batch, or trial ids if the batch has no places."""
    return tuple(getattr(batch, "places", ()) or batch.trial_ids)


@dataclass
class NonFiniteGuard:
    """Count steps with NaN or infinite loss or gradient; three in a row end training.

    Parameters
    ----------
    skipped : int
        Steps skipped so far.
    in_a_row : int
        Skipped steps in a row, up to the latest step.
    """

    skipped: int = 0
    in_a_row: int = 0

    def admit(self, finite: bool, step: int, where: Sequence[str]) -> bool:
        """Return whether this step may change the parameters.

        Parameters
        ----------
        finite : bool
            Whether loss and gradient norm are finite.
        step : int
        where : sequence of str
            Run and volumes of the samples in the step; named in the message when it is skipped.

        Raises
        ------
        TrainingError
            This is the third non-finite step in a row.
        """
        if finite:
            self.in_a_row = 0
            return True
        self.skipped += 1
        self.in_a_row += 1
        shown = ", ".join(where[:8]) + (", ..." if len(where) > 8 else "")
        if self.in_a_row >= _LIMIT:
            raise TrainingError(
                f"fit: loss and gradient must be finite, got NaN or infinity at step {step} and "
                f"the {_LIMIT - 1} before it. Last trials: {shown}. Look at these runs, or lower "
                "the learning rate; the last checkpoint is from before."
            )
        say(f"step {step}: loss or gradient is not finite, step skipped. Trials: {shown}")
        return False
