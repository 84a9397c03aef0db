"""METEOR: aligned words, with stems and, where WordNet is installed, synonyms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib.metadata import version
from typing import Any

import numpy as np
import numpy.typing as npt

from ..._arguments import checked
from .caption_words import WORDS_SIGNATURE, caption_words
from .ngrams import check_pairs
from .references import check_references


class _NoSynonyms:
    """Stands for WordNet where its data are not installed."""

    def synsets(self, word: str) -> list[Any]:
        return []


class _Stemmer:
    """Porter's stemmer, with the stems of words that recur kept."""

    def __init__(self) -> None:
        from nltk.stem.porter import PorterStemmer

        self.stem = lru_cache(maxsize=65_536)(PorterStemmer().stem)


@checked
def meteor(
    hypotheses: Sequence[str], references: Sequence[Sequence[str]]
) -> tuple[npt.NDArray[np.float64], str]:
    """Compute METEOR of every text with the best of its references, equal to nltk.

    Parameters
    ----------
    hypotheses : sequence of str, (N,)
    references : sequence of sequence of str, (N,)
        One or more references each.

    Returns
    -------
    scores : ndarray, (N,) float64
        In [0, 1). A text without words scores 0.
    signature : str
        With the stages of the alignment: exact words and stems, and synonyms if nltk finds
        WordNet's data (nothing is downloaded). Values with and without synonyms differ, and
        neither are those of the Java program METEOR 1.5, which has a table of paraphrases and
        other parameters.

    Raises
    ------
    InputError
        Sizes differ, or a sample has no reference.
    """
    check_references("meteor", hypotheses, references)
    score = meteor_scorer(references)
    return np.array([score(text, i) for i, text in enumerate(hypotheses)]), meteor_signature()


def meteor_scorer(references: Sequence[Sequence[str]]) -> Callable[[str, int], float]:
    """Return the METEOR of a text with the best reference of a sample, by its number."""
    score = _scorer()
    return lambda text, sample: max(score(text, known) for known in references[sample])


def meteor_rows(hypotheses: Sequence[str], references: Sequence[str]) -> npt.NDArray[np.float64]:
    """METEOR of each pair, and a 1 that counts the pairs, (N, 2) float64."""
    check_pairs("meteor_rows", hypotheses, references)
    score = _scorer()
    return np.array([[score(h, r), 1.0] for h, r in zip(hypotheses, references, strict=True)])


def meteor_signature() -> str:
    """Package, version and stages of the alignment."""
    stages = "exact+stem" if _wordnet() is None else "exact+stem+wordnet"
    return f"METEOR|nltk {version('nltk')}|{stages}|alpha:0.9|beta:3|gamma:0.5|{WORDS_SIGNATURE}"


def _scorer() -> Any:
    from nltk.translate.meteor_score import single_meteor_score

    stemmer, wordnet = _Stemmer(), _wordnet() or _NoSynonyms()

    def score(hypothesis: str, reference: str) -> float:
        return float(
            single_meteor_score(
                caption_words(reference),
                caption_words(hypothesis),
                stemmer=stemmer,
                wordnet=wordnet,
            )
        )

    return score


@lru_cache(maxsize=1)
def _wordnet() -> Any | None:
    """WordNet's reader of nltk, or None if its data are not there."""
    from nltk.corpus import wordnet

    try:
        wordnet.ensure_loaded()
    except LookupError:
        return None
    return wordnet
