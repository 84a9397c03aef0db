"""A reconstructed story: words and when they were said."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Story:
    """A decoded text.

    Parameters
    ----------
    texts : tuple of str, (W,)
        What was decoded of each window; empty where the brain says that nobody spoke.
    score : float
        Log probability over the length penalty.
    """

    texts: tuple[str, ...]
    score: float

    @property
    def text(self) -> str:
        """All of it."""
        return " ".join(text for text in self.texts if text)
