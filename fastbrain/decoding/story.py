"""Result type of the story decoders: texts by window, and a score."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Story:
    """A decoded story, window by window.

    Parameters
    ----------
    texts : tuple of str, (W,)
        Decoded text of each window; empty for a window with a word count of zero.
    score : float
        Score of the decoder: a length-penalised log probability, or a log likelihood.
    """

    texts: tuple[str, ...]
    score: float

    @property
    def text(self) -> str:
        """The texts of all windows, joined by spaces."""
        return " ".join(text for text in self.texts if text)
