"""Options for writing a sentence towards a predicted embedding."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..._arguments import checked
from ...errors import ConfigError
from ..sampling import Sampling


@checked(error=ConfigError)
@dataclass(frozen=True)
class SentenceWriting:
    """Options of :class:`SentenceDecoder` for writing.

    Parameters
    ----------
    shots : int
        Training texts in a prompt, those nearest to the predicted embedding, nearest last.
    prompts : int
        Prompts a sentence; the first has the nearest shots, the others draw theirs from the
        nearest ``4 · shots`` with weights that fall with the distance.
    samples : int
        Lines written for each prompt.
    rounds : int
        Rounds of editing, which replaces words of the best lines. 0: none.
    seconds : float, optional
        Time after which no further round begins, for each sentence, s. What is written then depends
        on the speed of the machine. Default: all rounds.
    kept : int
        Lines that are edited in a round.
    tried, scored : int
        Edited lines of a round that the encoder reads, and those nearest to the prediction among
        them that the language model reads.
    fluency : float
        Weight of the mean log likelihood of a token, in units of the cosine to the prediction.
    temperature, top_p : float
    max_new_tokens, min_new_tokens : int
    seed : int
    """

    shots: int = 5
    prompts: int = 4
    samples: int = 13
    rounds: int = 0
    seconds: float | None = None
    kept: int = 4
    tried: int = 48
    scored: int = 12
    fluency: float = 0.05
    temperature: float = 0.9
    top_p: float = 0.95
    max_new_tokens: int = 32
    min_new_tokens: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("shots", "prompts", "samples", "kept", "tried", "scored"):
            if getattr(self, name) < 1:
                raise ConfigError(
                    f"SentenceWriting: {name} must be >= 1, got {getattr(self, name)}."
                )
        if self.rounds < 0 or not self.fluency >= 0:
            raise ConfigError(
                "SentenceWriting: rounds and fluency must be >= 0, got "
                f"{self.rounds} and {self.fluency}."
            )
        if self.seconds is not None and not 0 < self.seconds < math.inf:
            raise ConfigError(
                f"SentenceWriting: seconds must be > 0 and finite, got {self.seconds}. Leave them "
                "out for all rounds."
            )
        _ = self.sampling  # its own checks

    @property
    def sampling(self) -> Sampling:
        """Options of the sampler."""
        return Sampling(
            method="sample",
            temperature=self.temperature,
            top_p=self.top_p,
            max_new_tokens=self.max_new_tokens,
            min_new_tokens=self.min_new_tokens,
        )


# by the name of a decoder
WRITING = {"retrieve": SentenceWriting(), "edit": SentenceWriting(rounds=10, fluency=0.07)}
