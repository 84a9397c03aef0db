"""A stand-in for a sentence encoder, and brains that hold what it says."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastbrain.lm.sentence_embeddings import SentenceEncoder

NOUNS = ("man", "woman", "dog", "child")
VERBS = ("holds", "throws", "paints", "sees")
SENTENCES = [f"the {a} {v} the {b}" for a in NOUNS for v in VERBS for b in NOUNS if a != b]


class WordCounts(SentenceEncoder):
    """Three layers of word counts, each turned by a fixed map."""

    def __init__(self, words: tuple[str, ...] = (*NOUNS, *VERBS)) -> None:
        self.name = "word counts"
        self.words = words

    def require_places(self) -> None:
        """Do nothing: words are counted as they stand."""

    def digest(self) -> str:
        """Tell apart stand-ins that count other words."""
        return " ".join(self.words)

    def layers(self, texts: Any) -> Any:
        counts = np.array([[t.lower().count(w) for w in self.words] for t in texts], dtype=float)
        counts = np.concatenate([counts, np.ones((len(texts), 1))], axis=1)
        maps = np.random.default_rng(0).standard_normal((3, counts.shape[1], 16))
        rows = np.einsum("nw,lwd->nld", counts, maps)
        return rows / np.linalg.norm(rows, axis=2, keepdims=True)


def brains_of(texts: Any, noise: float, seed: int = 0, *, encoder: Any = None) -> Any:
    """Images that hold the embedding of what was read, and noise, (N, 48)."""
    held = (encoder or WordCounts()).layers(texts).reshape(len(texts), -1)
    return held + noise * np.random.default_rng(seed).standard_normal(held.shape)
