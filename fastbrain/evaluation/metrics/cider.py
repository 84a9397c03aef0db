"""CIDEr-D: similarity of captions by n-grams weighted by their rarity (Vedantam et al. 2015)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from ..._arguments import checked
from .caption_words import WORDS_SIGNATURE, caption_words
from .ngrams import check_pairs
from .references import check_references

_ORDER = 4
_SIGMA = 6.0  # words; width of the penalty of different lengths
_SCALE = 10.0
_Gram = tuple[str, ...]


@dataclass(frozen=True)
class _Vector:
    """Weighted n-grams of a text, their norms by n, and the length that is compared."""

    weights: dict[_Gram, float]
    norms: tuple[float, ...]
    length: int


@checked
def cider_d(
    hypotheses: Sequence[str], references: Sequence[Sequence[str]]
) -> tuple[npt.NDArray[np.float64], str]:
    """Compute CIDEr-D of every text with its references.

    Parameters
    ----------
    hypotheses : sequence of str, (N,)
    references : sequence of sequence of str, (N,)
        One or more references each. Rarity is the share of samples with the n-gram in any of
        their references, so it needs many samples: that of a single sample is 0.

    Returns
    -------
    scores : ndarray, (N,) float64
        In [0, 10]; papers print 100 times their mean.
    signature : str

    Raises
    ------
    InputError
        Sizes differ, or a sample has no reference.
    """
    check_references("cider_d", hypotheses, references)
    score = cider_scorer(references)
    return np.array([score(text, i) for i, text in enumerate(hypotheses)]), cider_signature()


def cider_scorer(references: Sequence[Sequence[str]]) -> Callable[[str, int], float]:
    """Return the CIDEr-D of a text with the references of a sample, by its number."""
    counts = [[_grams(text) for text in each] for each in references]
    rarity = _rarity([set().union(*each) for each in counts])
    known = [[_vector(grams, rarity) for grams in each] for each in counts]

    @lru_cache(maxsize=65_536)
    def vector(text: str) -> _Vector:
        return _vector(_grams(text), rarity)

    def score(text: str, sample: int) -> float:
        own = vector(text)
        return sum(_similarity(own, other) for other in known[sample]) / len(known[sample])

    return score


def cider_rows(hypotheses: Sequence[str], references: Sequence[str]) -> npt.NDArray[np.float64]:
    """CIDEr-D of each pair, and a 1 that counts the pairs, (N, 2) float64.

    The different references are the samples for rarity, so that the pairs of derangements do not
    change it.
    """
    check_pairs("cider_rows", hypotheses, references)
    grams = {text: _grams(text) for text in {*hypotheses, *references}}
    rarity = _rarity([set(grams[text]) for text in dict.fromkeys(references)])
    known = {text: _vector(counts, rarity) for text, counts in grams.items()}
    pairs = zip(hypotheses, references, strict=True)
    return np.array([[_similarity(known[h], known[r]), 1.0] for h, r in pairs])


def cider_signature() -> str:
    """Variant, tokens and options."""
    return f"CIDEr-D|n:{_ORDER}|sigma:{_SIGMA:g}|idf:references|{WORDS_SIGNATURE}"


def _grams(text: str) -> Counter[_Gram]:
    words = caption_words(text)
    return Counter(
        words[i : i + n] for n in range(1, _ORDER + 1) for i in range(len(words) - n + 1)
    )


def _rarity(samples: Sequence[set[_Gram]]) -> tuple[Counter[_Gram], float]:
    """Number of samples with each n-gram, and the log of the number of samples."""
    return Counter(gram for grams in samples for gram in grams), math.log(len(samples))


def _vector(counts: Counter[_Gram], rarity: tuple[Counter[_Gram], float]) -> _Vector:
    samples, most = rarity
    weights = {
        gram: count * (most - math.log(max(samples[gram], 1))) for gram, count in counts.items()
    }
    squares = [0.0] * _ORDER
    for gram, weight in weights.items():
        squares[len(gram) - 1] += weight**2
    # the published program takes the number of word pairs for the length
    length = sum(count for gram, count in counts.items() if len(gram) == 2)
    return _Vector(weights, tuple(map(math.sqrt, squares)), length)


def _similarity(own: _Vector, other: _Vector) -> float:
    common = [0.0] * _ORDER
    for gram in own.weights.keys() & other.weights.keys():
        weight = other.weights[gram]
        # no more than the reference has, so that repeated words do not count
        common[len(gram) - 1] += min(own.weights[gram], weight) * weight
    cosines = [
        value / (mine * theirs) if mine and theirs else 0.0
        for value, mine, theirs in zip(common, own.norms, other.norms, strict=True)
    ]
    penalty = math.exp(-((own.length - other.length) ** 2) / (2 * _SIGMA**2))
    return _SCALE * penalty * sum(cosines) / _ORDER
