"""The text that precedes the text of a trial: its prompt or its instruction."""

from __future__ import annotations

from collections.abc import Sequence

from ...errors import InputError
from .events import Trial

BEFORE = ("prompt", "instruction")


def last_words(text: str, count: int | None) -> str:
    """Return the last `count` words of a text, separated by spaces; None keeps all of them.

    Parameters
    ----------
    text : str
    count : int or None
        0 gives "". A word is what stands between spaces.
    """
    words = text.split()
    return " ".join(words if count is None else words[len(words) - min(count, len(words)) :])


def texts_before(
    trials: Sequence[Trial], before: str, prompt_length: int | None = None
) -> tuple[str, ...]:
    """Return the text before the text of each trial.

    Parameters
    ----------
    trials : sequence of Trial
    before : {"prompt", "instruction"}
    prompt_length : int or None
        Number of words of a prompt that are kept, the last ones; None for all. Instructions are
        whole.

    Raises
    ------
    InputError
        `before` is neither.
    """
    if before not in BEFORE:
        raise InputError(f"texts_before: before must be one of {BEFORE}, got {before!r}.")
    if before == "prompt":
        return tuple(last_words(t.prompt, prompt_length) for t in trials)
    return tuple(t.instruction for t in trials)


def has_prompts(trials: Sequence[Trial]) -> bool:
    """Whether a trial has a prompt; where none has, instructions precede the texts."""
    return any(t.prompt for t in trials)
