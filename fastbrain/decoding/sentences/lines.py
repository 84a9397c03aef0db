"""Lines that were tried for one brain, with their scores."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from .candidates import Candidates

Array = npt.NDArray[np.float64]
_WORDS = re.compile(r"[^\W_]+")


class Lines:
    """Different lines with their cosine to the prediction and their likelihood.

    The score of a line is its cosine plus `fluency` times its mean log likelihood per token.

    Parameters
    ----------
    fluency : float
        Cosine per nat.
    without : iterable of str
        Lines that are never added, compared by their words without case.
    """

    def __init__(self, fluency: float, *, without: Iterable[str]) -> None:
        self._fluency = fluency
        self._without = {_key(text) for text in without}
        self._found: dict[str, tuple[float, float, int]] = {}

    def __len__(self) -> int:
        return len(self._found)

    def new(self, texts: Iterable[str]) -> list[str]:
        """Return the texts that may be added, each once."""
        return [
            text
            for text in dict.fromkeys(texts)
            if text.split() and text not in self._found and _key(text) not in self._without
        ]

    def add(self, lines: Candidates, cosines: Array) -> None:
        """Add lines with their cosines (N,); those that are there stay as they are."""
        rows = zip(lines.texts, cosines, lines.log_p, lines.tokens, strict=True)
        for text, cosine, log_p, tokens in rows:
            if self.new([text]):
                self._found[text] = float(cosine), float(log_p), int(tokens)

    def best(self, count: int | None = None) -> list[str]:
        """Return the lines with the best scores, best first."""
        order: Sequence[str] = sorted(self._found, key=self._score, reverse=True)
        return list(order[:count])

    def candidates(self) -> Candidates:
        """Return all lines, best first."""
        texts = self.best()
        rows = [self._found[text] for text in texts]
        return Candidates(
            tuple(texts), np.array([r[1] for r in rows]), np.array([r[2] for r in rows])
        )

    def _score(self, text: str) -> float:
        cosine, log_p, tokens = self._found[text]
        return cosine + self._fluency * log_p / tokens


def _key(text: str) -> str:
    words = _WORDS.findall(text.lower())
    return " ".join(words) if words else " ".join(text.split())
