"""Options of text generation that commands share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..decoding.sampling import Sampling


@dataclass(frozen=True)
class SamplingOptions:
    """How text is generated."""

    method: Literal["greedy", "sample", "beam"] = "greedy"
    """How the next token is chosen."""
    max_tokens: int = 32
    """Longest text, tokens."""
    beams: int = 5
    """Width of the beam."""
    temperature: float = 1.0
    """Softness of sampling."""
    top_p: float = 1.0
    """Nucleus mass of sampling."""
    seed: int = 0
    """Of sampling, derangements and bootstrap."""

    def sampling(self) -> Sampling:
        """As the decoder takes it."""
        return Sampling(
            method=self.method,
            max_new_tokens=self.max_tokens,
            beams=self.beams,
            temperature=self.temperature,
            top_p=self.top_p,
            seed=self.seed,
        )
