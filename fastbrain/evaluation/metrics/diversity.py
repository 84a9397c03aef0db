"""Diversity of decoded texts, and truncation to the reference length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ..._arguments import checked
from ...errors import InputError
from .ngrams import bleu_counts, bleu_value, check_pairs


@dataclass(frozen=True)
class Diversity:
    """Diversity of a set of outputs; a collapsed decoder has few distinct ones.

    Parameters
    ----------
    distinct1, distinct2 : float
        Number of distinct words, and of distinct pairs of adjacent words, divided by the number of
        all words or pairs (Li et al. 2016). Zero if there are none.
    distinct_outputs : float
        Number of distinct outputs divided by the number of outputs.
    self_bleu : float or None
        BLEU-4 of the outputs, each compared with another output drawn at random; None for a single
        output. High values mean similar outputs.
    n : int
    """

    distinct1: float
    distinct2: float
    distinct_outputs: float
    self_bleu: float | None
    n: int


@checked
def diversity(texts: Sequence[str], *, seed: int = 0) -> Diversity:
    """Compute the diversity of decoded texts; words are separated by white space.

    Raises
    ------
    InputError
        There are no texts.
    """
    if not texts:
        raise InputError("diversity: texts must be at least one, got none.")
    words = [text.split() for text in texts]
    ones = [w for row in words for w in row]
    twos = [pair for row in words for pair in pairwise(row)]
    alike = None
    if len(texts) > 1:
        order = np.random.default_rng(seed).permutation(len(texts))
        others = [texts[i] for i in np.roll(order, 1)]
        counts = bleu_counts([texts[i] for i in order], others).sum(axis=0)
        alike = bleu_value(counts, order=4, brevity=True)
    return Diversity(
        len(set(ones)) / max(len(ones), 1),
        len(set(twos)) / max(len(twos), 1),
        len(set(texts)) / len(texts),
        alike,
        len(texts),
    )


@checked
def cut_to_reference_length(hypotheses: Sequence[str], references: Sequence[str]) -> list[str]:
    """Truncate each decoded text to the number of words of its reference.

    Scores of such texts use the true length, which free decoding does not have: report them
    separately, with the mode ``"reference-length"``.

    Parameters
    ----------
    hypotheses, references : sequence of str
        Words are separated by white space. Shorter texts are unchanged.

    Returns
    -------
    list of str
    """
    check_pairs("cut_to_reference_length", hypotheses, references)
    pairs = zip(hypotheses, references, strict=True)
    return [
        h if len(h.split()) <= len(r.split()) else " ".join(h.split()[: len(r.split())])
        for h, r in pairs
    ]
