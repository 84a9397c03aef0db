"""Does a decoder say different things, and how long are they."""

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
    """How much a set of outputs varies; a collapsed decoder has few distinct ones.

    Parameters
    ----------
    distinct1, distinct2 : float
        Different words, and pairs of neighbouring words, over all of them (Li et al. 2016).
        Zero where there are none.
    distinct_outputs : float
        Different outputs over all outputs.
    self_bleu : float or None
        BLEU-4 of the outputs, each against another one drawn at random; None for a single one.
        High where outputs are alike.
    n : int
    """

    distinct1: float
    distinct2: float
    distinct_outputs: float
    self_bleu: float | None
    n: int


@checked
def diversity(texts: Sequence[str], *, seed: int = 0) -> Diversity:
    """Variety of decoded texts; words are parted by white space.

    Raises
    ------
    InputError
        No texts.
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
    """Cut each decoded text after as many words as its reference has.

    Scores of such texts know the true length, which free decoding does not: report them apart,
    with the mode ``"reference-length"``.

    Parameters
    ----------
    hypotheses, references : sequence of str
        Words are parted by white space. Shorter texts stay as they are.

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
