"""Decode engine of a run, made for the lengths of its windows and texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from ...decoding import DecodeEngine, Prefix
from ...decoding.brain_decoder import BrainDecoder
from ...decoding.opening import Opening
from ...lm.context import context_of


class OpeningDecoder(BrainDecoder, Protocol):
    """Decoder that returns what the language model reads before texts, and the scored tokens."""

    def opening(self, prefixes: Any) -> Opening:
        """Return what the language model reads before the texts."""

    def text_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Tokens by which texts are scored."""


class RunEngine:
    """A :class:`~fastbrain.decoding.DecodeEngine`, made for the first opening.

    The cache is rewound to the prompt that all windows share, if it stands before the brain.

    Parameters
    ----------
    decoder : OpeningDecoder
    llm, tokenizer : PreTrainedModel, PreTrainedTokenizer
    most_tokens : int
        Longest text that is written or scored.
    """

    def __init__(
        self, decoder: OpeningDecoder, llm: Any, tokenizer: Any, *, most_tokens: int
    ) -> None:
        self.decoder, self.llm, self.tokenizer = decoder, llm, tokenizer
        self.most_tokens = most_tokens
        self.nothing = decoder.opening(decoder.read_nothing())
        self._made: tuple[DecodeEngine, Prefix | None] | None = None

    def ready(self, opening: Opening) -> tuple[DecodeEngine, Prefix | None]:
        """Return the engine and the prefix of an opening; those of a run are equally long."""
        if self._made is None:
            room = max(map(_positions, (opening, self.nothing))) + self.most_tokens
            context = context_of(self.llm)
            room = room if context is None else min(room, context)
            engine = DecodeEngine(self.llm, self.tokenizer, max_tokens=room)
            ids = opening.prompt_ids
            prefix = None if ids is None else engine.prefix(ids, bos=False)
            # not before, or a failed prefix would be left out next time
            self._made = engine, prefix
        engine, prefix = self._made
        return engine, None if opening.prompt_ids is None else prefix


def _positions(opening: Opening) -> int:
    shared = 0 if opening.prompt_ids is None else len(opening.prompt_ids)
    return shared + opening.embeds.shape[1]
