"""What a trained language model is asked about a person: codes, or words of connectivity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from ..lm.mixed_sequence import MixedSequence
from ..lm.number_lines import NumberLines
from .connectivity_words import ConnectivityWords, load_words
from .question import Question, spread_starts


def saved_words(run: Path, config: Mapping[str, Any]) -> ConnectivityWords | None:
    """Components that the configuration of a run says that it reads; None for codes alone.

    Raises
    ------
    CheckpointError
        The folder of the words is missing or damaged.
    """
    # runs of earlier versions have no words
    return load_words(run / "words") if (config.get("words") or {}).get("components") else None


@dataclass(frozen=True)
class Asking:
    """Builder of the sequences of a run, up to the position of the answer.

    Parameters
    ----------
    question : Question
    steps, draws : int
        Time steps of a sequence of codes, and sequences of a person.
    words : ConnectivityWords or None
        None for a run that is asked behind codes alone.
    lines : NumberLines or None
        Tokens of the words.
    """

    question: Question
    steps: int
    draws: int
    words: ConnectivityWords | None
    lines: NumberLines | None

    @classmethod
    def load(cls, run: Path, config: Mapping[str, Any], question: Question) -> Asking:
        """Load what the configuration of a run says that it reads.

        Raises
        ------
        CheckpointError
            The folder of the words is missing or damaged.
        """
        words = saved_words(run, config)
        lines = None if words is None else NumberLines.find(question.tokenizer)
        return cls(question, config["steps"], config["draws"], words, lines)

    def behind_codes(self, codes: Tensor) -> list[MixedSequence]:
        """Sequences of parts of a recording (R, P), spread evenly over it, with the question."""
        return [
            self.question.row(codes[:, start : start + self.steps])
            for start in spread_starts(codes.shape[1], self.steps, self.draws)
        ]

    def behind_words(self, features: npt.NDArray[np.float64]) -> list[MixedSequence]:
        """The sequence of the words of connectivity (F,), with the question."""
        assert self.words is not None
        assert self.lines is not None
        return [self.question.row(self.lines.tokens(self.words.values(features)))]
