"""Text baselines: majority text, template text and nearest training text."""

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
    """Return the most frequent training text.

    Parameters
    ----------
    train_texts : sequence of str
        Of the training part alone.

    Returns
    -------
    str
        Among equally frequent texts (all, if every text is unique) the text with the most common
        words, by the cosine of its bag of words with the mean bag of words of the training texts;
        then the first in alphabetical order.
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
    """Return the most common word at each position of the training texts, up to median length.

    For captions with a common template ("a person sees a ...") the result is that template, which
    gets a high n-gram score without any brain. Ties go to the first word in alphabetical order.

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
    """Return the text of the training brain nearest to each brain, by Pearson correlation.

    Parameters
    ----------
    features : array_like, (N, D)
        Feature vectors that the decoder computes from the brains.
    train_features : array_like, (M, D)
        Feature vectors of the training brains; their mean is subtracted from both.
    train_texts : sequence of str, (M,)

    Returns
    -------
    list of str, (N,)
        Nearest training text of each brain. A decoder with no better scores may only retrieve.

    Raises
    ------
    InputError
        Sizes differ.
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
