"""Text decoded from a run, window by window."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Story:
    """A decoded text.

    Parameters
    ----------
    texts : tuple of str, (W,)
        Text of each window; empty where the predicted number of words is zero.
    score : float
        Log probability over the length penalty.
    """

    texts: tuple[str, ...]
    score: float

    @property
    def text(self) -> str:
        """All of it."""
        return " ".join(text for text in self.texts if text)
