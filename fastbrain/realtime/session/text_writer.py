"""Text of a window, word by word: by the decode engine, or by ``generate`` where it cannot run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from ...decoding import Sampling
from ...decoding.brain_decoder import BrainDecoder
from ...decoding.engine import TokenEvent
from ...lm.end_tokens import end_tokens_of
from .run_engine import RunEngine
from .window_decoder import Listener, Stopped


class TextWriter(Protocol):
    """Writes the text of one window."""

    def write(self, prefixes: Any, listener: Listener) -> str:
        """Write a text; the listener gets its first word, and may stop it at any token."""


class EngineWriter:
    """Texts by a :class:`~fastbrain.decoding.DecodeEngine`."""

    def __init__(self, engine: RunEngine, sampling: Sampling | None) -> None:
        self.engine, self.tokenizer = engine, engine.tokenizer
        self.sampling = Sampling() if sampling is None else sampling
        self.ends = end_tokens_of(engine.tokenizer, engine.llm)

    def write(self, prefixes: Any, listener: Listener) -> str:
        """Write a text.

        Raises
        ------
        Stopped
            The listener stopped it.
        """
        opening = self.engine.decoder.opening(prefixes)
        words = _FirstWord(self.tokenizer, listener)
        engine, prefix = self.engine.ready(opening)
        found = engine.generate(
            opening.embeds,
            sampling=self.sampling,
            prefixes=[prefix],
            attention_mask=opening.mask,
            eos_token_id=self.ends,
            logit_bias=opening.logit_bias,
            on_token=words.event,
            cancelled=listener.stops,
        )
        if found.finish[0] == "cancelled":
            raise Stopped
        text = found.texts(self.tokenizer)[0]
        words.end(text)
        return text


class ModelWriter:
    """Texts by the decoder's own ``generate``."""

    def __init__(self, decoder: BrainDecoder, llm: Any, tokenizer: Any) -> None:
        self.decoder, self.llm, self.tokenizer = decoder, llm, tokenizer

    def write(self, prefixes: Any, listener: Listener) -> str:
        """Write a text.

        Raises
        ------
        Stopped
            The listener stopped it.
        """
        words = _FirstWord(self.tokenizer, listener)
        with _hooked(self.llm, words):
            text = self.decoder.write(prefixes)[0]
        words.end(text)
        return text


class _FirstWord:
    """Passes the first complete word of a text to a listener."""

    def __init__(self, tokenizer: Any, listener: Listener) -> None:
        self.tokenizer, self.listener = tokenizer, listener
        self.tokens: list[int] = []
        self.waiting = True

    def event(self, event: TokenEvent) -> None:
        """Take the next token from an engine."""
        self.add(event.token)

    def add(self, token: int) -> None:
        """Take the next token."""
        if not self.waiting:
            return
        self.tokens.append(token)
        words = self.tokenizer.decode(self.tokens, skip_special_tokens=True).split(None, 1)
        if len(words) > 1:
            self._found(words[0])

    def end(self, text: str) -> None:
        """Pass on the first word of a text that has only one."""
        if self.waiting and text.strip():
            self._found(text.split()[0])

    def _found(self, word: str) -> None:
        self.waiting = False
        self.listener.word(word)


@contextmanager
def _hooked(llm: Any, words: _FirstWord) -> Iterator[None]:
    """Follow a language model while it generates: every step feeds the token chosen before."""

    def follow(_module: Any, _args: Any, inputs: dict[str, Any]) -> None:
        if words.listener.stops():
            raise Stopped
        fed = inputs.get("input_ids")
        # several rows are the beams of a search: none of them is the text yet
        if fed is not None and fed.shape == (1, 1):
            words.add(int(fed))

    handle = llm.register_forward_pre_hook(follow, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()
