"""Likelihoods of texts after a window: by the decode engine, or by the decoder of the run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ...decoding.brain_decoder import BrainDecoder
from .run_engine import RunEngine

Scores = npt.NDArray[np.float64]


class TextScorer(Protocol):
    """Scores texts: mean negative log likelihoods, nats per token."""

    def score(self, prefixes: Any, texts: Sequence[str]) -> Scores:
        """Score texts (M,) after one window."""

    def score_alone(self, texts: Sequence[str], only: int | None = None) -> Scores:
        """Score the first `only` of the texts (default: all) after the prompt alone."""


class EngineScorer:
    """Scores by a :class:`~fastbrain.decoding.DecodeEngine`: all texts in one pass, as a tree."""

    def __init__(self, engine: RunEngine) -> None:
        self.engine = engine

    def score(self, prefixes: Any, texts: Sequence[str]) -> Scores:
        """Score texts (M,) after one window."""
        return self._scored(self.engine.decoder.opening(prefixes), texts)

    def score_alone(self, texts: Sequence[str], only: int | None = None) -> Scores:
        """Score the first `only` of the texts (default: all) after the prompt alone."""
        return self._scored(self.engine.nothing, texts[:only])

    def _scored(self, opening: Any, texts: Sequence[str]) -> Scores:
        ids = self.engine.decoder.text_ids(texts)
        engine, prefix = self.engine.ready(opening)
        total = engine.score(
            opening.embeds,
            ids,
            prefixes=[prefix],
            attention_mask=opening.mask,
            logit_bias=opening.logit_bias,
        )
        return total[0].numpy() / np.array([len(row) for row in ids])


class DecoderScorer:
    """Scores by the decoder of a run.

    Parameters
    ----------
    decoder : BrainDecoder
        One with prompts takes exactly as many texts as it has prompts.
    """

    def __init__(self, decoder: BrainDecoder) -> None:
        self.decoder = decoder
        self._nothing = decoder.read_nothing()

    def score(self, prefixes: Any, texts: Sequence[str]) -> Scores:
        """Score texts (M,) after one window."""
        return self._scored(prefixes, texts, len(texts))

    def score_alone(self, texts: Sequence[str], only: int | None = None) -> Scores:
        """Score the first `only` of the texts (default: all) after the prompt alone."""
        return self._scored(self._nothing, texts, len(texts) if only is None else only)

    def _scored(self, prefixes: Any, texts: Sequence[str], count: int) -> Scores:
        pairs = np.array([(0, j) for j in range(count)], dtype=np.int64)
        return np.asarray(self.decoder.score(prefixes, texts, pairs))
