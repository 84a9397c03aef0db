"""Corpus text metrics, computed with the standard packages, as fractions of one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..._arguments import checked
from ...errors import InputError
from ...stats.derangements import distinct_rows
from ...stats.inference import Interval, permutation_p
from ..scores import Mode, Score
from ._external import foreign
from .bertscore import bert_score as bert_score
from .ngrams import bleu_counts, bleu_value, check_pairs, rouge_rows
from .registry import TEXT_METRICS, Rows, TextMetric, bleu_signature, rouge_signature


@dataclass(frozen=True)
class TextScore:
    """A corpus score with the signature needed to reproduce it.

    Parameters
    ----------
    value : float
        Fraction of one.
    signature : str
        Package, version and options.
    """

    value: float
    signature: str


@dataclass(frozen=True)
class TextResult:
    """Result of one metric over a corpus.

    Parameters
    ----------
    score : Score
    per_sample : ndarray, (N,) float64, optional
        None if the metric has only a corpus value.
    null : ndarray, (R,) float64, optional
        Corpus value under each derangement.
    """

    score: Score
    per_sample: npt.NDArray[np.float64] | None
    null: npt.NDArray[np.float64] | None


@checked(least={"resamples": 1})
def text_scores(
    decoded: Sequence[str],
    truth: Sequence[str],
    partners: npt.NDArray[np.int64] | None = None,
    *,
    rows: npt.NDArray[np.int64] | None = None,
    metrics: Sequence[TextMetric] = TEXT_METRICS,
    blocks: Sequence[object] | None = None,
    mode: Mode = "free-running",
    control: str = "deranged brain",
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, TextResult]:
    """Compute all metrics of decoded texts, with chance from the partners' decoded texts.

    Equal pairs are scored once; derangements and resamples are sums of the rows of pairs.

    Parameters
    ----------
    decoded, truth : sequence of str, (N,)
    partners : ndarray, (R, N) int64, optional
        From :func:`fastbrain.stats.derangements`; without it scores have no chance level.
    rows : ndarray, (K,) int64, optional
        Samples to score, for instance those of one subject; partners may be any sample. Default:
        all.
    metrics : sequence of TextMetric
    blocks : sequence, (N,), optional
        Whole blocks are resampled for the intervals; a single block has none. Default: each sample
        is a block.
    mode : str
        See :class:`fastbrain.evaluation.Score`; texts cut with :func:`cut_to_reference_length`
        are ``"reference-length"``.
    control : str
        Name of the control that `partners` define.
    resamples : int
    seed : int

    Returns
    -------
    dict of str to TextResult
        By metric name. p is one-sided in the metric's better direction; equal derangements count
        once.

    Raises
    ------
    InputError
        List lengths differ, or partners or rows are not valid sample indices.
    MissingPartError
        A package that a metric requires is not installed.
    """
    check_pairs("text_scores", decoded, truth)
    n = len(truth)
    if partners is not None and (
        partners.ndim != 2
        or partners.shape[1] != n
        or not len(partners)
        or not ((partners >= 0) & (partners < n)).all()
    ):
        raise InputError(
            f"text_scores: partners must be (R >= 1, {n}) numbers of samples, got shape "
            f"{partners.shape}."
        )
    if rows is None:
        rows = np.arange(n)
    elif rows.ndim != 1 or not len(rows) or not ((rows >= 0) & (rows < n)).all():
        raise InputError(f"text_scores: rows must be some of the {n} samples, got {rows}.")
    if blocks is not None and len(blocks) != n:
        raise InputError(f"text_scores: blocks must name all {n} samples, got {len(blocks)}.")
    names = range(len(rows)) if blocks is None else [str(blocks[i]) for i in rows]
    units, draws = _draws(names, resamples, seed)
    sums: dict[Any, tuple[Rows, Rows | None, Rows]] = {}
    results = {}
    for metric in metrics:
        if metric.rows not in sums:
            own, null_sums = _rows_and_null(metric.rows, decoded, truth, partners, rows)
            sums[metric.rows] = own, null_sums, draws @ own
        own, null_sums, drawn = sums[metric.rows]
        value = metric.value(own.sum(axis=0))
        low, high = np.percentile([metric.value(total) for total in drawn], [2.5, 97.5])
        interval = Interval(float(low), float(high)) if units > 1 else None
        null = None if null_sums is None else np.array([metric.value(t) for t in null_sums])
        sign = 1 if metric.better == "higher" else -1
        p = None
        if null is not None and partners is not None:
            p = permutation_p(sign * value, sign * null[distinct_rows(partners[:, rows])])
        score = Score(
            metric.name,
            mode,
            value,
            len(rows),
            chance=None if null is None else float(null.mean()),
            control="" if null is None else control,
            p=p,
            interval=interval,
            signature=metric.signature(),
        )
        each = np.array([metric.value(row) for row in own]) if metric.per_sample else None
        results[metric.name] = TextResult(score, each, null)
    return results


def _rows_and_null(
    rows_of: Callable[[Sequence[str], Sequence[str]], Rows],
    decoded: Sequence[str],
    truth: Sequence[str],
    partners: npt.NDArray[np.int64] | None,
    chosen: npt.NDArray[np.int64],
) -> tuple[Rows, Rows | None]:
    """Rows of the chosen matched pairs (K, S), and row sums under each derangement (R, S)."""
    said, said_id = np.unique(np.asarray(decoded, dtype=object), return_inverse=True)
    true, true_id = np.unique(np.asarray(truth, dtype=object), return_inverse=True)
    brains = chosen[None]
    if partners is not None:
        brains = np.concatenate([brains, partners[:, chosen]])
    all_said = said_id[brains]
    codes, place = np.unique(all_said * len(true) + true_id[chosen], return_inverse=True)
    pairs = [said[c // len(true)] for c in codes], [true[c % len(true)] for c in codes]
    with foreign("text_scores", "a metric's library", "Look for texts that hold no characters."):
        unique = rows_of(*pairs)
    place = place.reshape(all_said.shape)
    # one derangement at a time: the full (R, N, S) array may not fit in memory
    null = None if partners is None else np.stack([unique[p].sum(axis=0) for p in place[1:]])
    return unique[place[0]], null


def _draws(blocks: Sequence[object], resamples: int, seed: int) -> tuple[int, Rows]:
    """Count the blocks, and each sample in each bootstrap resample, (resamples, N)."""
    labels = np.unique(np.asarray(blocks), return_inverse=True)[1]
    count = int(labels.max()) + 1
    drawn = np.random.default_rng(seed).integers(count, size=(resamples, count))
    times = np.stack([np.bincount(row, minlength=count) for row in drawn])
    return count, times[:, labels].astype(np.float64)


@checked
def bleu(hypotheses: Sequence[str], references: Sequence[str], *, order: int = 4) -> TextScore:
    """Compute corpus BLEU with n-grams up to `order`, equal to sacrebleu.

    Parameters
    ----------
    hypotheses, references : sequence of str
        Decoded and true texts in the same order. An empty hypothesis is allowed and scores zero.
    order : {1, 2, 3, 4}

    Returns
    -------
    TextScore
        sacrebleu's score divided by 100, with its signature.
    """
    check_pairs("bleu", hypotheses, references)
    if order not in range(1, 5):
        raise InputError(f"bleu: order must be 1, 2, 3 or 4, got {order}.")
    total = bleu_counts(hypotheses, references).sum(axis=0)
    return TextScore(bleu_value(total, order=order, brevity=True), bleu_signature(order, True))


@checked
def rouge_l(
    hypotheses: Sequence[str], references: Sequence[str]
) -> tuple[npt.NDArray[np.float64], str]:
    """Compute ROUGE-L of every pair, equal to rouge-score (no stemming).

    Returns
    -------
    scores : ndarray, (N, 3) float64
        Precision, recall and F of each pair.
    signature : str
    """
    check_pairs("rouge_l", hypotheses, references)
    rows = rouge_rows(hypotheses, references)
    return rows[:, 3:6], rouge_signature("rougeL")
