"""Interface of a decoder of single windows, as a session uses it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy.typing as npt

from ...errors import FastbrainError

Window = npt.NDArray[Any]


class Stopped(Exception):
    """Decoding was stopped on request, within one token."""


class Listener(Protocol):
    """Receives a text while it is written."""

    def word(self, text: str) -> None:
        """Receive the first whole word."""

    def sentence(self, text: str) -> None:
        """Receive the finished text."""

    def stops(self) -> bool:
        """Whether to stop now; asked once a token."""

    def hurries(self) -> bool:
        """Whether to leave out what follows the text: its control and the ranking."""


@dataclass(frozen=True)
class Decoded:
    """Text of a window.

    Parameters
    ----------
    text : str
    confidence : float or None
        Geometric mean of the probabilities of the text's tokens after the own window, its end
        included. It measures how certain the language model is, not whether the brain contributed.
    margin_no_brain : float or None
        The no-brain control: nats per token by which the own window makes the text likelier than
        the prompt alone, as ``fastbrain decode`` computes it. Around 0 the text would have been
        written without any brain.
    ranked : tuple of (str, float)
        Phrases of a list, best first, with the same margin; at most five.

    Notes
    -----
    Confidence and margin cost two teacher-forced passes over the text, after it was handed to the
    listener. A ranking costs one more pass over all phrases.
    """

    text: str
    confidence: float | None = None
    margin_no_brain: float | None = None
    ranked: tuple[tuple[str, float], ...] = ()


class WindowDecoder(Protocol):
    """Decodes one window after the other."""

    def warm_up(self) -> None:
        """Decode an empty window, so that the first real one is not slower than the others."""

    def decode(self, window: Window, listener: Listener) -> Decoded:
        """Write the text of a window, (F, n_tokens, P) stored steps."""


def as_reason(error: Exception) -> str:
    """Describe a failure without any text that it might quote: only our own messages are shown."""
    return str(error) if isinstance(error, FastbrainError) else type(error).__name__
