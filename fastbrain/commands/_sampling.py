"""Options of text generation, shared by several commands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from ..decoding.sampling import Sampling


@dataclass(frozen=True)
class TextOptions:
    """Settings of text generation, without its seed."""

    method: Literal["greedy", "sample", "beam"] = "greedy"
    """Method to choose the next token."""
    max_tokens: int = 32
    """Maximum length of a text in tokens."""
    beams: int = 5
    """Width of the beam."""
    temperature: float = 1.0
    """Temperature of sampling."""
    top_p: float = 1.0
    """Nucleus mass of sampling."""

    def sampling_of(self, seed: int) -> Sampling:
        """Convert the options to :class:`Sampling`."""
        from ..decoding.sampling import Sampling

        return Sampling(
            method=self.method,
            max_new_tokens=self.max_tokens,
            beams=self.beams,
            temperature=self.temperature,
            top_p=self.top_p,
            seed=seed,
        )


@dataclass(frozen=True)
class SamplingOptions(TextOptions):
    """Settings of text generation."""

    seed: int = 0
    """Seed of sampling, derangements and bootstrap."""

    def sampling(self) -> Sampling:
        """Convert the options to :class:`Sampling`."""
        return self.sampling_of(self.seed)
