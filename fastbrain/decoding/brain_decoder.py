"""Interface of a decoder that controls and mixtures can run."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt


class BrainDecoder(Protocol):
    """Interface of a decoder that the controls can run.

    A *prefix* is the decoder's representation of one brain (embeddings in front of a language
    model, a predicted vector). The controls only count prefixes and pass them back.
    """

    def read(self, brains: Any) -> Any:
        """Compute the prefixes (N, ...) of N brains, in order."""

    def read_nothing(self) -> Any:
        """Compute prefixes without a brain: (1, ...), or (N, ...) if each sample has a prompt."""

    def write(self, prefixes: Any) -> list[str]:
        """Generate the free-running text of every prefix."""

    def score(
        self, prefixes: Any, texts: Sequence[str], pairs: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.float64]:
        """Teacher-forced mean negative log likelihood (K,) of (prefix, text) pairs (K, 2)."""

    def features(self, prefixes: Any) -> npt.NDArray[np.float64]:
        """Compute one vector per prefix, (N, D), used to find the nearest training brain."""

    def untuned(self) -> AbstractContextManager[None] | None:
        """Context with the published language model weights; None if the model is not tuned."""
