"""Free-running texts beside those of the same decoder under every control."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from ...stats.inference import block_flip_p
from ..controls.conditions import DERANGED, TRUE, Conditions, block_effect
from ..metrics.corpus import TextResult, text_scores
from ..metrics.diversity import cut_to_reference_length
from ..metrics.registry import Rows, TextMetric
from ..scores import Mode, Score

# compared with every control, not only with deranged brains
HEADLINES = ("bleu1", "rougeL_f", "wer", "bertscore_f")


def texts_against_deranged(
    said: Sequence[str],
    conditions: Conditions,
    *,
    metrics: Sequence[TextMetric],
    rows: npt.NDArray[np.int64] | None = None,
    mode: Mode = "free-running",
    seed: int = 0,
) -> dict[str, TextResult]:
    """Score decoded texts, with the texts of deranged brains as the chance level.

    Parameters
    ----------
    said : sequence of str, (N,)
    conditions : Conditions
        If the texts of deranged brains were written again after each sample's own prompt, chance is
        their score and p is from sign flips of blocks; else both are from all derangements.
    metrics : sequence of TextMetric
    rows, mode, seed
        As in :func:`fastbrain.evaluation.text_scores`.
    """
    how: dict[str, Any] = {"rows": rows, "metrics": metrics, "mode": mode, "seed": seed}
    how["blocks"] = conditions.blocks
    truth, blocks = conditions.truth, conditions.blocks
    if conditions.rewritten is None:
        return text_scores(said, truth, conditions.partners, **how)
    own, other = (text_scores(texts, truth, **how) for texts in (said, conditions.rewritten))
    if rows is not None:
        blocks = tuple(blocks[i] for i in rows)
    return {
        metric.name: replace(
            own[metric.name],
            score=_beside(own[metric.name], other[metric.name], metric, DERANGED, blocks, seed),
        )
        for metric in metrics
    }


def against_controls(
    conditions: Conditions,
    free: dict[str, TextResult],
    metrics: Sequence[TextMetric],
    *,
    seed: int = 0,
) -> list[Score]:
    """Compare the headline metrics with those of each control that has its own texts.

    Parameters
    ----------
    conditions : Conditions
    free : dict
        From :func:`texts_against_deranged`.
    metrics : sequence of TextMetric
    seed : int
    """
    headlines = [m for m in metrics if m.name in HEADLINES]
    blocks, found = conditions.blocks, []
    for control in conditions:
        if control.texts is None or control.name in (TRUE, DERANGED):
            continue
        other = text_scores(
            control.texts, conditions.truth, metrics=headlines, blocks=blocks, seed=seed
        )
        found += [
            _beside(free[m.name], other[m.name], m, control.name, blocks, seed) for m in headlines
        ]
    return found


def _beside(
    ours: TextResult,
    theirs: TextResult,
    metric: TextMetric,
    control: str,
    blocks: Sequence[object],
    seed: int,
) -> Score:
    beside = replace(ours.score, chance=theirs.score.value, control=control, p=None)
    if ours.per_sample is None or theirs.per_sample is None:
        return beside
    sign = 1 if metric.better == "higher" else -1
    gain = sign * (ours.per_sample - theirs.per_sample)
    return replace(
        beside, p=block_flip_p(gain, blocks, seed=seed), effect=block_effect(gain, blocks)
    )


def cut_metric(metric: TextMetric) -> TextMetric:
    """Return a metric of texts cut to the length of their reference."""
    return replace(metric, rows=_cut(metric.rows))


@cache
def _cut(rows: Any) -> Any:
    """Row function on texts cut to reference length; cached, so metrics still share rows."""

    def cut(decoded: Sequence[str], truth: Sequence[str]) -> Rows:
        return rows(cut_to_reference_length(decoded, truth), truth)

    return cut
