"""Identification of the true text from the written text alone, two-way and first k of n."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from ..._arguments import checked
from ...errors import InputError
from .identified import KS, Identification, identified
from .text_similarity import meaning_similarity, word_similarity

By = Literal["meaning", "words"]


@checked
def identification_from_text(
    written: Sequence[str],
    truth: Sequence[str],
    blocks: Sequence[object],
    *,
    by: By = "meaning",
    model: str | None = None,
    exclude: Sequence[object] = (),
    groups: Sequence[object] = (),
    sizes: Sequence[int] | None = None,
    ks: Sequence[int] = KS,
    partners: npt.NDArray[np.int64] | None = None,
    rewritten: Sequence[str] = (),
    bank: Sequence[str] = (),
    count: int = 1000,
    seed: int = 0,
) -> Identification:
    """Find the true text of each written text among all true texts, by similarity of texts.

    Nothing but the written text is used: no prediction from the brain and no likelihood.

    Parameters
    ----------
    written, truth : sequence of str, (N >= 2,)
        Free-running texts and the true texts.
    blocks : sequence, (N,)
        Run, passage or story of each sample: partners are of another block, and intervals
        resample whole blocks.
    by : {"meaning", "words"}
        Cosine of sentence embeddings, or ROUGE-1 F. A decoder that chooses its texts with a
        sentence encoder is optimised for the first; the second is the independent check.
    model : str, optional
        Sentence encoder, a folder or a name on the hub; default: the packaged MiniLM.
    exclude : sequence, (N,), optional
        Label of each sample, for instance its passage: other texts of the same label are no
        candidates.
    groups : sequence, (N,), optional
        Question of each sample: only samples of its group are candidates and partners.
    sizes : sequence of int, optional
        Numbers of candidates n, the true text included, for the first k of n. The value is the
        expectation over all sets of n - 1 wrong candidates, by the hypergeometric distribution.
        Default: those of 50 and 100 that every sample has.
    ks : sequence of int
    partners : ndarray, (R, N) int64, optional
        Derangements to use in place of `count` new ones: chance is the score of the partner's
        text.
    rewritten : sequence of str, (N,), optional
        Texts that the decoder wrote from the brains of one derangement after each sample's own
        prompt. They replace the derangements: p is then from sign flips of blocks.
    bank : sequence of str, optional
        Texts, for instance those of training. The ceiling is the score of the text of the bank
        that is most similar to each true text.
    count : int
        Number of derangements.
    seed : int

    Returns
    -------
    Identification
        Candidates of equal similarity count as ranked in random order.

    Raises
    ------
    InputError
        Sizes differ, a sample has no wrong candidate, a size or k is out of range, or no
        derangement exists.
    MissingPartError
        No model is given and the default one is not installed.
    """
    n = len(truth)
    named = {"written": written, "blocks": blocks}
    named |= {"rewritten": rewritten} if len(rewritten) else {}
    wrong = [f"{len(given)} {name}" for name, given in named.items() if len(given) != n]
    if wrong or n < 2:
        raise InputError(
            "identification_from_text: all arguments must be of the same N >= 2 samples, got "
            f"{n} true texts and {', '.join(wrong) or 'no other'}."
        )
    if model is not None and by != "meaning":
        raise InputError(
            f"identification_from_text: model must be left out for by={by!r}, got {model!r}."
        )

    def similarity(texts: Sequence[str]) -> tuple[npt.NDArray[np.float64], str]:
        if by == "words":
            return word_similarity(texts, truth)
        return meaning_similarity(texts, truth, model=model)

    own, signature = similarity(written)
    return identified(
        own,
        blocks,
        by,
        signature,
        exclude=exclude,
        groups=groups,
        sizes=sizes,
        ks=ks,
        partners=partners,
        other=similarity(rewritten)[0] if len(rewritten) else None,
        oracle=oracle_similarity(truth, bank, by, model) if len(bank) else None,
        count=count,
        seed=seed,
    )


def oracle_similarity(
    truth: Sequence[str], bank: Sequence[str], by: By, model: str | None = None
) -> npt.NDArray[np.float64]:
    """Similarity (N, N) of the text of a bank nearest to each true text, with all true texts."""
    bank = list(dict.fromkeys(bank))
    if by == "words":
        every, _ = word_similarity(bank, truth)
    else:
        every, _ = meaning_similarity(bank, truth, model=model)
    return every[every.argmax(axis=0)]
