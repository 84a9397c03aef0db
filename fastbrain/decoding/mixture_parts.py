"""Parts of a mixture of decoders: brains, prefixes, weights, and the texts that normalise it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from .brain_decoder import BrainDecoder
from .sampling import Sampling

Array = npt.NDArray[np.float64]
_AT_ONCE = 65_536  # pairs


class BaseDecoder(BrainDecoder, Protocol):
    """Decoder under a mixture: one for the controls that samples, such as ``LLM4BrainDecoder``.

    `sampling` and `engine` are its options of writing.
    """

    sampling: Sampling | None
    engine: bool

    def text_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Tokens by which texts are scored."""


@dataclass(frozen=True, eq=False)
class MixtureBrains:
    """The same N brains for both parts of a mixture.

    Parameters
    ----------
    base : object
        Brains in the format of the base decoder.
    features : ndarray, (N, B)
        Features of the read-out.
    """

    base: Any
    features: npt.NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class MixtureRows:
    """Prefixes of N brains, from :meth:`MixtureDecoder.read`.

    Parameters
    ----------
    base : object
        Prefixes of the base decoder.
    predicted : ndarray, (N, F) float64, or None
        Predicted embeddings, unit vectors; None without a brain.
    """

    base: Any
    predicted: Array | None

    def __len__(self) -> int:
        return len(self.base)

    def __getitem__(self, rows: npt.NDArray[np.int64]) -> MixtureRows:
        predicted = None if self.predicted is None else self.predicted[rows]
        return MixtureRows(self.base[rows], predicted)


@dataclass(frozen=True)
class MixtureWeights:
    """Weights of a mixture, and the validation part that they were fitted on.

    Parameters
    ----------
    base : float
        Exponent a of the base decoder, 0 to 1.
    evidence : float
        Nats w for a cosine of one. 0: the mixture is the base itself.
    nll : float
        Negative log likelihood of the validation texts, nats a text.
    base_nll : float
        The same under the base alone.
    gain, gain_error : float
        What the evidence adds to the same share of the base, nats a text, and its standard error
        over the groups; 0 without evidence.
    effective : float
        Median effective number of the texts in Z(b); of few, the normaliser is uncertain. 0
        without evidence.
    texts, distinct, groups : int
        Validation texts, how many of them differ, and their passages, stories or runs.
    """

    base: float
    evidence: float
    nll: float = 0.0
    base_nll: float = 0.0
    gain: float = 0.0
    gain_error: float = 0.0
    effective: float = 0.0
    texts: int = 0
    distinct: int = 0
    groups: int = 0


@dataclass(frozen=True, eq=False)
class Drawn:
    """Texts that the base wrote for N brains, and without one, with their likelihoods.

    Parameters
    ----------
    texts : list of list of str, (N, K)
        The first half of each row is written for its brain.
    with_brain, alone : ndarray, (N, K) float64
        Log likelihood of the base with the brain and without, nats a text.
    cosine : ndarray, (N, K) float64
        To the predicted embedding.
    """

    texts: list[list[str]]
    with_brain: Array
    alone: Array
    cosine: Array

    def log_terms(self, share: float, weight: float) -> Array:
        """Log of the terms (N, K) of which Z(b) is the mean, nats."""
        proposal = np.logaddexp(self.with_brain, self.alone) - np.log(2)
        product = share * self.with_brain + (1 - share) * self.alone + weight * self.cosine
        found: Array = product - proposal
        return found

    def log_p(
        self,
        product: Array,
        share: float,
        weight: float,
        texts: Sequence[str],
        pairs: npt.NDArray[np.int64],
    ) -> Array:
        """Log likelihood (K,) of (brain, text) pairs (K, 2), given their products (K,).

        Z(b) is the product of the text itself, which is known, and the mean over draws for all
        other texts. So no text has more than the whole probability.
        """
        terms = self.log_terms(share, weight)
        known = {_key(text): i for i, text in enumerate(texts)}
        drawn = np.array([[known.get(_key(text), -1) for text in row] for row in self.texts])
        place = np.array([known[_key(text)] for text in texts])
        found = np.empty(len(pairs))
        for start in range(0, len(pairs), _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            brain, text = pairs[part].T
            others = np.where(drawn[brain] == place[text][:, None], -np.inf, terms[brain])
            rest = np.logaddexp.reduce(others, axis=1) - np.log(terms.shape[1])
            found[part] = product[part] - np.logaddexp(product[part], rest)
        return found


def _key(text: str) -> str:
    return " ".join(text.split())
