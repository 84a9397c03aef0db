"""Windows decoded with a language model, word by word.

This is the only module of real time that generates text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import InputError
from ...evaluation.controls.run_controls import BrainDecoder
from .window_decoder import Decoded, Listener, Stopped, Window

_MOST_RANKED = 5


class RunWindowDecoder:
    """Decoder of the windows of a run.

    Parameters
    ----------
    writer, scorer : BrainDecoder
        The same decoder; a BrainLLM with a prompt needs one for one text and one for all.
    brains : callable
        Maps a window to the one brain that `writer.read` takes.
    llm, tokenizer : language model and its tokenizer
    shape : tuple of int
        Shape (F, n_tokens, P) of a window.
    phrases : sequence of str
        Candidates that are ranked after each text.
    control : bool
        Whether to compute confidence and no-brain margin.
    """

    def __init__(
        self,
        writer: BrainDecoder,
        scorer: BrainDecoder,
        brains: Callable[[Window], Any],
        *,
        llm: Any,
        tokenizer: Any,
        shape: tuple[int, int, int],
        phrases: Sequence[str] = (),
        control: bool = True,
    ) -> None:
        self.writer, self.scorer, self.brains = writer, scorer, brains
        self.llm, self.tokenizer, self.shape = llm, tokenizer, shape
        self.phrases, self.control = tuple(phrases), control
        self._nothing = scorer.read_nothing()
        self._alone: npt.NDArray[np.float64] | None = None

    def warm_up(self) -> None:
        """Decode an empty window."""
        self.decode(np.zeros(self.shape, dtype=np.int16), _Silent())

    def decode(self, window: Window, listener: Listener) -> Decoded:
        """Write the text of a window and compare it with the text that needs no brain.

        Raises
        ------
        Stopped
            The listener stopped it.
        InputError
            The window has another shape.
        """
        if window.shape != self.shape:
            raise InputError(
                f"RunWindowDecoder.decode: window must be {self.shape}, got {window.shape}. "
                "Prepare it with the preparation of the run."
            )
        prefixes = self.writer.read(self.brains(window))
        with _streamed(self.llm, self.tokenizer, listener) as stream:
            text = self.writer.write(prefixes)[0]
        stream.end(text)
        listener.sentence(text)
        if listener.hurries():
            return Decoded(text)
        return self._compared(prefixes, text)

    def _compared(self, prefixes: Any, text: str) -> Decoded:
        texts = [text] if text.strip() and self.control else []
        count = len(texts) + len(self.phrases)
        if not count:
            return Decoded(text)
        # a scorer with prompts takes exactly as many texts as it has prompts
        filled = [text if text.strip() else self.phrases[0], *self.phrases]
        own = self._scored(prefixes, filled)
        if self._alone is None and self.phrases:
            self._alone = self._scored(self._nothing, filled)[1:]
        confidence = margin = None
        if texts:
            alone = self._scored(self._nothing, filled, only=1)
            confidence, margin = float(np.exp(-own[0])), float(alone[0] - own[0])
        return Decoded(text, confidence, margin, self._ranked(own[1:]))

    def _ranked(self, own: npt.NDArray[np.float64]) -> tuple[tuple[str, float], ...]:
        if self._alone is None:
            return ()
        margins = self._alone - own
        best = np.argsort(-margins, kind="stable")[:_MOST_RANKED]
        return tuple((self.phrases[i], float(margins[i])) for i in best)

    def _scored(
        self, prefixes: Any, texts: Sequence[str], only: int | None = None
    ) -> npt.NDArray[np.float64]:
        count = len(texts) if only is None else only
        pairs = np.array([(0, j) for j in range(count)], dtype=np.int64)
        return np.asarray(self.scorer.score(prefixes, texts, pairs))


class _Silent:
    def word(self, text: str) -> None: ...

    def sentence(self, text: str) -> None: ...

    def stops(self) -> bool:
        return False

    def hurries(self) -> bool:
        return False


class _Stream:
    """Finds the first whole word in the tokens that a language model is fed.

    Every step of generation feeds the token chosen before, which a hook on the model sees.
    """

    def __init__(self, tokenizer: Any, listener: Listener) -> None:
        self.tokenizer, self.listener = tokenizer, listener
        self.tokens: list[int] = []
        self.waiting = True

    def __call__(self, _module: Any, _args: Any, inputs: dict[str, Any]) -> None:
        if self.listener.stops():
            raise Stopped
        fed = inputs.get("input_ids")
        # several rows are the beams of a search: none of them is the text yet
        if not self.waiting or fed is None or fed.shape != (1, 1):
            return
        self.tokens.append(int(fed))
        words = self.tokenizer.decode(self.tokens, skip_special_tokens=True).split(None, 1)
        if len(words) > 1:
            self._found(words[0])

    def end(self, text: str) -> None:
        """Hand on the first word of a text that has only one."""
        if self.waiting and text.strip():
            self._found(text.split()[0])

    def _found(self, word: str) -> None:
        self.waiting = False
        self.listener.word(word)


@contextmanager
def _streamed(llm: Any, tokenizer: Any, listener: Listener) -> Iterator[_Stream]:
    """Listen to a language model while it generates."""
    stream = _Stream(tokenizer, listener)
    handle = llm.register_forward_pre_hook(stream, with_kwargs=True)
    try:
        yield stream
    finally:
        handle.remove()
