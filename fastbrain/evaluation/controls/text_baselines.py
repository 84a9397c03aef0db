"""Texts that need no brain: what a decoder must beat before its words mean anything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ..._arguments import checked
from ...errors import InputError
from ...stats.correlations import correlations


@checked
def majority_text(train_texts: Sequence[str]) -> str:
    """The most frequent training text.

    Parameters
    ----------
    train_texts : sequence of str
        Of the training part alone.

    Returns
    -------
    str
        Among equally frequent ones (all, where every text is unique) the one whose words are
        most common over the training texts, by the cosine with their mean bag of words; then the
        first in the alphabet.
    """
    counts = Counter(_words("majority_text", train_texts))
    spread = Counter(word for text in train_texts for word in set(text.split()))
    most = max(counts.values())

    def key(text: str) -> tuple[float, str]:
        words = set(text.split())
        return -sum(spread[w] for w in words) / len(words) ** 0.5, text

    return min((text for text, count in counts.items() if count == most), key=key)


@checked
def template_text(train_texts: Sequence[str]) -> str:
    """The most common word at every place of the training texts, up to their median length.

    Captions of one template ("a person sees a ...") leave that template; it scores high by n-grams
    without any brain. Ties go to the first word in the alphabet.

    Parameters
    ----------
    train_texts : sequence of str
        Of the training part alone.
    """
    rows = [text.split() for text in _words("template_text", train_texts)]
    length = int(np.median([len(row) for row in rows]))
    template = []
    for place in range(length):
        counts = Counter(row[place] for row in rows if len(row) > place)
        template.append(min(counts, key=lambda word: (-counts[word], word)))
    return " ".join(template)


@checked
def nearest_training_texts(
    features: npt.ArrayLike, train_features: npt.ArrayLike, train_texts: Sequence[str]
) -> list[str]:
    """The text of the training brain that is most like each brain, by Pearson correlation.

    Parameters
    ----------
    features : array_like, (N, D)
        What the decoder makes of the brains, before the text.
    train_features : array_like, (M, D)
        The same of the training brains; their mean is subtracted from both.
    train_texts : sequence of str, (M,)

    Returns
    -------
    list of str, (N,)
        A decoder no better than this may be retrieving, not decoding.

    Raises
    ------
    InputError
        Sizes disagree.
    """
    own, bank = (np.asarray(f, dtype=np.float64) for f in (features, train_features))
    fit = own.ndim == bank.ndim == 2 and own.shape[1] == bank.shape[1]
    if not fit or len(bank) != len(train_texts) or not len(bank):
        raise InputError(
            "nearest_training_texts: features must be (N, D), train_features (M >= 1, D) with M "
            f"texts, got {own.shape}, {bank.shape} and {len(train_texts)}."
        )
    mean = bank.mean(axis=0)
    return [train_texts[i] for i in correlations(own - mean, bank - mean).argmax(axis=1)]


def _words(name: str, texts: Sequence[str]) -> list[str]:
    rows = [" ".join(text.split()) for text in texts]
    if not rows or not all(rows):
        raise InputError(
            f"{name}: train_texts must be at least one and hold words, got {len(rows)} texts of "
            f"which {sum(not row for row in rows)} are empty."
        )
    return rows
