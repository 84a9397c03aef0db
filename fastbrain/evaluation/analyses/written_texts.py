"""Scores of what was written: identification of the true text, use of the brain, fluency."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from ..controls.conditions import TRUE, Conditions
from ..metrics.fluency import fluency
from ..metrics.identification import By, oracle_similarity
from ..metrics.identified import identified
from ..metrics.text_similarity import meaning_similarity, word_similarity
from ..scores import Score
from .brain_use import brain_use

_NO_BRAIN = "prompt alone"


def written_text_scores(
    conditions: Conditions,
    *,
    meaning: bool,
    train_texts: Sequence[str] = (),
    seed: int = 0,
) -> tuple[list[Score], dict[str, npt.NDArray[np.float64]], dict[str, Any]]:
    """Identify the true texts from the written ones, and check that the brain was used.

    Parameters
    ----------
    conditions : Conditions
        With texts of the true brain, of two or more samples.
    meaning : bool
        Whether to compare by sentence embeddings, besides the words in common.
    train_texts : sequence of str, optional
        Texts of the training part, for the ceiling of a decoder that copies one of them.
    seed : int

    Returns
    -------
    scores : list of Score
    per_sample : dict
        Score name to (N,) float64, for scores among all true texts.
    facts : dict
        ``"identification"`` (curves and ceilings), ``"brain_use"`` and ``"fluency"``.
    """
    said, truth, blocks = conditions[TRUE].texts, conditions.truth, conditions.blocks
    assert said is not None
    scores: list[Score] = []
    per_sample: dict[str, npt.NDArray[np.float64]] = {}
    curves: dict[str, Any] = {}
    used: dict[str, Any] = {}
    for by in get_args(By):
        if by == "meaning" and not meaning:
            continue
        similar = meaning_similarity if by == "meaning" else word_similarity
        own, signature = similar(said, truth)
        other = None if conditions.rewritten is None else similar(conditions.rewritten, truth)[0]
        found = identified(
            own,
            blocks,
            by,
            signature,
            groups=conditions.questions,
            partners=conditions.partners,
            other=other,
            oracle=oracle_similarity(truth, train_texts, by) if train_texts else None,
            seed=seed,
        )
        scores += found.scores
        per_sample |= {n: v for n, v in found.per_sample.items() if "_of_" not in n}
        curves[by] = found.to_json()
        # the first measure is that of the check: sentence embeddings if there are any
        used = used or {"similarity": own, "scored": signature} | _pair(own, other)
    alone = conditions.controls.get(_NO_BRAIN)
    use = brain_use(
        said,
        truth,
        permuted=conditions.rewritten or (),
        no_brain=() if alone is None or alone.texts is None else alone.texts,
        partners=conditions.partners,
        blocks=blocks,
        seed=seed,
        **used,
    )
    facts = {
        "identification": curves,
        "brain_use": {**use.to_json(), "message": use.message},
        "fluency": fluency_facts(conditions, train_texts),
    }
    return scores, per_sample, facts


def fluency_facts(
    conditions: Conditions,
    train_texts: Sequence[str] = (),
    *,
    judge: tuple[Any, Any] | None = None,
    name: str = "",
) -> dict[str, dict[str, Any]]:
    """Fluency of the decoded texts, of the true texts and of the texts of every control, by name.

    Parameters
    ----------
    conditions : Conditions
    train_texts, judge, name
        As in :func:`fastbrain.evaluation.fluency`.
    """
    sets = {"decoded": conditions[TRUE].texts, "truth": conditions.truth}
    sets |= {c.name: c.texts for c in conditions if c.name != TRUE}
    return {
        key: fluency(texts, train_texts=train_texts, judge=judge, name=name).to_json()
        for key, texts in sets.items()
        if texts is not None
    }


def _pair(
    own: npt.NDArray[np.float64], other: npt.NDArray[np.float64] | None
) -> dict[str, npt.NDArray[np.float64]]:
    """Scores of texts written again, in place of those of derangements."""
    if other is None:
        return {}
    return {"own_scores": np.diag(own).copy(), "permuted_scores": np.diag(other).copy()}
