"""The nearest-text unigram model as a decoder for the controls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import numpy as np
import numpy.typing as npt

from ...errors import InputError
from ...stats.unit_rows import unit_rows
from .unigram import nearest_text_unigram

Array = npt.NDArray[np.float64]


class NearestTextUnigram:
    """Decode words of the training texts nearest to the predicted embedding, without order.

    The baseline ``"nearest-text unigram"``: a decoder with lower scores has learned little.

    Parameters
    ----------
    train_vectors : array_like, (M, D)
        Embeddings of the training texts, in the space of the predictions.
    train_texts : sequence of str, (M,)
    words : callable
        Maps a text to its words, for instance ``tokenizer.tokenize``.
    temperature, corpus_share
        As in :func:`nearest_text_unigram`.

    Raises
    ------
    InputError
        Sizes differ, an embedding is not finite, or no training text has a word.
    """

    def __init__(
        self,
        train_vectors: npt.ArrayLike,
        train_texts: Sequence[str],
        *,
        words: Callable[[str], Sequence[str]] = str.split,
        temperature: float = 0.2,
        corpus_share: float = 0.5,
    ) -> None:
        bank = np.asarray(train_vectors, dtype=np.float64)
        if bank.ndim != 2 or len(bank) != len(train_texts) or not len(bank):
            raise InputError(
                "NearestTextUnigram: train_vectors must be (M >= 1, D) with M texts, got "
                f"{bank.shape} and {len(train_texts)}."
            )
        _check_finite("train_vectors", bank)
        self._mean, self._words = bank.mean(axis=0), words
        self._bank = unit_rows(bank - self._mean)
        rows = [list(words(text)) for text in train_texts]
        self._column = {w: i for i, w in enumerate(sorted({w for row in rows for w in row}))}
        # the last column stands for all words in no training text
        self._counts = np.zeros((len(rows), len(self._column) + 1))
        for counts, row in zip(self._counts, rows, strict=True):
            np.add.at(counts, [self._column[w] for w in row], 1)
        self._length = int(np.median([len(row) for row in rows]))
        self._options = {"temperature": temperature, "corpus_share": corpus_share}

    def read(self, brains: npt.ArrayLike) -> Array:
        """Subtract the mean training embedding from the predicted embeddings, (N, D)."""
        predicted = np.asarray(brains, dtype=np.float64)
        _check_finite("brains", predicted)
        return predicted - self._mean

    def read_nothing(self) -> Array:
        """Return a prediction with equal similarity to every training text, (1, D)."""
        return np.zeros((1, len(self._mean)))

    def write(self, prefixes: Array) -> list[str]:
        """Return the words with the largest gain in log probability from the brain, unordered."""
        gain = (self._log_p(prefixes) - self._log_p(self.read_nothing()))[:, :-1]
        names = list(self._column)
        order = np.argsort(-gain, axis=1, kind="stable")[:, : self._length]
        return [" ".join(names[i] for i in row) for row in order]

    def score(self, prefixes: Array, texts: Sequence[str], pairs: npt.NDArray[np.int64]) -> Array:
        """Mean negative log likelihood per word (K,) of (brain, text) pairs (K, 2)."""
        log_p = self._log_p(prefixes)
        bags = np.zeros((len(texts), log_p.shape[1]))
        for bag, text in zip(bags, texts, strict=True):
            np.add.at(bag, [self._column.get(w, len(self._column)) for w in self._words(text)], 1)
        lengths = bags.sum(axis=1)
        if not lengths.all():
            raise InputError("NearestTextUnigram.score: texts must hold words, got an empty one.")
        found: Array = (-(log_p @ bags.T) / lengths)[pairs[:, 0], pairs[:, 1]]
        return found

    def features(self, prefixes: Array) -> Array:
        """Return the predicted embeddings, (N, D)."""
        return prefixes

    def untuned(self) -> AbstractContextManager[None] | None:
        """Return None: there is no language model."""
        return None

    def _log_p(self, prefixes: Array) -> Array:
        return nearest_text_unigram(
            unit_rows(prefixes) @ self._bank.T, self._counts, **self._options
        )


def _check_finite(name: str, rows: Array) -> None:
    if not np.isfinite(rows).all():
        raise InputError(
            f"NearestTextUnigram: {name} must be finite, got NaN or infinity. Look at what "
            "predicted them."
        )
