"""The question that each trial is asked: its own instruction, else the prompt of the run."""

from __future__ import annotations

from collections.abc import Sequence

from ..data.readers.events import Trial
from .model import LLM4Brain


def saved_prompt(model: LLM4Brain) -> str:
    """Return the prompt that a model was saved with; "" for a model without a card."""
    return str(getattr(model.card, "prompt", ""))


def questions_of(model: LLM4Brain, trials: Sequence[Trial]) -> tuple[str, ...]:
    """Return the question of each trial; "" without an instruction and a card."""
    return tuple(trial.instruction or saved_prompt(model) for trial in trials)
