"""The whole evaluation of decoded text: metrics, their controls, their intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from .controls import derangements, pairwise
from .stats import bootstrap_interval, permutation_p
from .text import bert_score, bleu, rouge_l

_BLEU_RESAMPLES = 200  # each one is a corpus BLEU: 200 keep the 2.5 % points within 0.01


@dataclass(frozen=True)
class Sample:
    """One decoded window beside its truth.

    Parameters
    ----------
    trial_id, subject, run_id : str
    truth, decoded : str
        Decoded text is free-running: it never sees the truth.
    """

    trial_id: str
    subject: str
    run_id: str
    truth: str
    decoded: str


@dataclass(frozen=True)
class Evaluation:
    """Samples, their derangements and the metrics.

    Parameters
    ----------
    samples : tuple of Sample
    permuted : tuple of str
        What the decoder says of each sample's partner in the first derangement.
    metrics : dict
        JSON-ready; every score with ``*_ci`` where it has one, ``*_permuted`` (its mean over
        the derangements) and ``*_p``.
    """

    samples: tuple[Sample, ...]
    permuted: tuple[str, ...]
    metrics: dict[str, Any] = field(default_factory=dict)


def evaluate_text(
    samples: Sequence[Sample],
    nll: npt.ArrayLike,
    *,
    count: int = 100,
    seed: int = 0,
    bert: bool = True,
) -> Evaluation:
    """Score decoded texts beside the same decoder on deranged brain input.

    Parameters
    ----------
    samples : sequence of Sample, (N,)
    nll : array_like, (N, N)
        Mean negative log likelihood of text ``j`` given brain ``i``
        (:func:`fastbrain.decoding.score_matrix`).
    count : int
        Number of derangements, at least 100: fewer cannot reach p <= 0.01.
    seed : int
    bert : bool
        Whether to compute BERTScore (needs the ``demo`` extra).

    Returns
    -------
    Evaluation
        No partner comes from the same run, hence none from an overlapping window.

    Raises
    ------
    InputError
        No samples, fewer than 100 derangements, or one run holds more than half of them.
    """
    if count < 100:
        raise InputError(f"evaluate_text: count must be >= 100, got {count}: p could not be small.")
    if not samples:
        raise InputError("evaluate_text: samples must not be empty. Is the test part empty?")
    partners = derangements([s.run_id for s in samples], count=count, seed=seed)
    truth = [s.truth for s in samples]
    decoded = [s.decoded for s in samples]
    shuffled = [[decoded[j] for j in row] for row in partners]
    signatures = {"pairwise": "teacher-forced mean NLL, true vs deranged brain, ties 0.5"}

    forced = pairwise(nll, partners)
    metrics: dict[str, Any] = {
        "n": len(samples),
        "n_derangements": int(count),
        "partners_exclude": "same run",
        "ci_level": 0.95,
        "ci_unit": "sample",
        "pairwise_accuracy": forced.accuracy,
        "pairwise_ci": bootstrap_interval(forced.per_sample, seed=seed).as_list(),
        "pairwise_p": forced.p,
        "pairwise_chance": 0.5,
        "pairwise_is_teacher_forced": True,
        "distinct_outputs": len(set(decoded)) / len(decoded),
    }
    _put(metrics, "exact_match", _exact(decoded, truth), [_exact(row, truth) for row in shuffled])
    for order in (1, 2):
        score = bleu(decoded, truth, order=order)
        null = [bleu(row, truth, order=order).value for row in shuffled]
        _put(metrics, f"bleu{order}", score.value, null)
        metrics[f"bleu{order}_ci"] = _bleu_interval(decoded, truth, order, seed)
        signatures[f"bleu{order}"] = score.signature
    rouge, signatures["rougeL"] = rouge_l(decoded, truth)
    null_rouge = np.stack([rouge_l(row, truth)[0].mean(axis=0) for row in shuffled])
    for column, name in enumerate(("rougeL_p", "rougeL_r", "rougeL_f")):
        _put(metrics, name, float(rouge[:, column].mean()), null_rouge[:, column])
    metrics["rougeL_f_ci"] = bootstrap_interval(rouge[:, 2], seed=seed).as_list()
    if bert:
        scores, signatures["bertscore"] = bert_score(decoded, truth)
        # one pass over all derangements: equal pairs are shown to the model once
        flat, _ = bert_score([t for row in shuffled for t in row], truth * count)
        null_bert = flat[:, 2].reshape(count, -1).mean(axis=1)
        _put(metrics, "bertscore_f", float(scores[:, 2].mean()), null_bert)
        metrics["bertscore_f_ci"] = bootstrap_interval(scores[:, 2], seed=seed).as_list()
    metrics["signatures"] = signatures
    return Evaluation(tuple(samples), tuple(shuffled[0]), metrics)


def _put(
    metrics: dict[str, Any],
    name: str,
    value: float,
    null: Sequence[float] | npt.NDArray[np.float64],
) -> None:
    metrics[name] = value
    metrics[f"{name}_permuted"] = float(np.mean(null))
    # rougeL_p is ROUGE precision; its p-value is rougeL_p_pvalue, like all others
    metrics[f"{name}_pvalue"] = permutation_p(value, null)


def _exact(decoded: Sequence[str], truth: Sequence[str]) -> float:
    return float(np.mean([d == t for d, t in zip(decoded, truth, strict=True)]))


def _bleu_interval(
    decoded: Sequence[str], truth: Sequence[str], order: int, seed: int
) -> list[float]:
    def score(rows: npt.NDArray[np.float64]) -> float:
        picks = rows.astype(int)
        return bleu([decoded[i] for i in picks], [truth[i] for i in picks], order=order).value

    rows = np.arange(len(truth), dtype=np.float64)
    return bootstrap_interval(rows, statistic=score, resamples=_BLEU_RESAMPLES, seed=seed).as_list()
