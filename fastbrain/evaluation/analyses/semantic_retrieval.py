"""Retrieve the true text of each decoded text by the similarity of sentence embeddings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ..._arguments import checked
from ..controls.conditions import DERANGED
from ..metrics.retrieval import retrieval
from ..metrics.text_similarity import meaning_similarity
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
    similarity, name = meaning_similarity(decoded, truth, model=model)
    return retrieval_scores_of(
        "meaning", similarity, blocks, name, partners=None, count=count, seed=seed
    )[0]


def retrieval_scores_of(
    prefix: str,
    similarity: npt.NDArray[np.float64],
    blocks: Sequence[object],
    signature: str,
    *,
    partners: npt.NDArray[np.int64] | None,
    count: int = 100,
    seed: int = 0,
    groups: Sequence[object] = (),
) -> tuple[list[Score], dict[str, npt.NDArray[np.float64]]]:
    """Two-way, top-1 and top-5 scores of a similarity (N, N), and their values per sample.

    Parameters
    ----------
    prefix : str
        The scores are named ``PREFIX_two_way``, ``PREFIX_top1`` and, from five samples on,
        ``PREFIX_top5``.
    similarity, blocks, partners, count, seed, groups
        As in :func:`fastbrain.evaluation.retrieval`.
    signature : str
        How `similarity` was computed.
    """
    n = len(similarity)
    ks = [k for k in _TOP if k <= n]
    found = retrieval(
        similarity, blocks, ks=ks, count=count, seed=seed, partners=partners, groups=groups
    )
    among = f"among {n} truths"
    if groups:
        sizes = sorted(Counter(map(str, groups)).values())
        among = f"among the {sizes[0]} to {sizes[-1]} truths of the same question"
    parts = {f"{prefix}_two_way": found.two_way}
    parts |= {f"{prefix}_top{k}": found.top[k] for k in ks}
    scores = [
        Score(
            metric,
            "retrieval",
            part.value,
            n,
            part.chance,
            DERANGED,
            part.p,
            part.interval,
            f"{signature}; {among}",
        )
        for metric, part in parts.items()
    ]
    return scores, {metric: part.per_query for metric, part in parts.items()}
