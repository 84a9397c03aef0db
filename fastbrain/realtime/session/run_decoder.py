"""Windows decoded with the model of a run, with the control and the ranking of each text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ...decoding.brain_decoder import BrainDecoder
from ...errors import InputError
from .text_scorer import TextScorer
from .text_writer import TextWriter
from .window_decoder import Decoded, Listener, Window

_MOST_RANKED = 5


class RunWindowDecoder:
    """Decoder of the windows of a run.

    Parameters
    ----------
    reader : BrainDecoder
    brains : callable
        Maps a window to the one brain that `reader.read` takes.
    writer : TextWriter
        Writes after what `reader.read` returns.
    scorer : TextScorer
        Scores texts after it.
    shape : tuple of int
        Shape (F, n_tokens, P) of a window.
    phrases : sequence of str
        Candidates that are ranked after each text.
    control : bool
        Whether to compute confidence and no-brain margin.
    """

    def __init__(
        self,
        reader: BrainDecoder,
        brains: Callable[[Window], Any],
        writer: TextWriter,
        scorer: TextScorer,
        *,
        shape: tuple[int, int, int],
        phrases: Sequence[str] = (),
        control: bool = True,
    ) -> None:
        self.reader, self.brains = reader, brains
        self.writer, self.scorer, self.shape = writer, scorer, shape
        self.phrases, self.control = tuple(phrases), control
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
        prefixes = self.reader.read(self.brains(window))
        text = self.writer.write(prefixes, listener)
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
        own = self.scorer.score(prefixes, filled)
        if self._alone is None and self.phrases:
            self._alone = self.scorer.score_alone(filled)[1:]
        confidence = margin = None
        if texts:
            alone = self.scorer.score_alone(filled, only=1)
            confidence, margin = float(np.exp(-own[0])), float(alone[0] - own[0])
        return Decoded(text, confidence, margin, self._ranked(own[1:]))

    def _ranked(self, own: npt.NDArray[np.float64]) -> tuple[tuple[str, float], ...]:
        if self._alone is None:
            return ()
        margins = self._alone - own
        best = np.argsort(-margins, kind="stable")[:_MOST_RANKED]
        return tuple((self.phrases[i], float(margins[i])) for i in best)


class _Silent:
    def word(self, text: str) -> None: ...

    def sentence(self, text: str) -> None: ...

    def stops(self) -> bool:
        return False

    def hurries(self) -> bool:
        return False
