"""Table of text metrics: name, row function, corpus value, signature and requirements."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from .bertscore import BertModel, bert_score
from .cider import cider_rows, cider_signature
from .meteor import meteor_rows, meteor_signature
from .ngrams import (
    bleu_counts,
    bleu_value,
    chrf_counts,
    chrf_value,
    exact_rows,
    rouge_rows,
    wer_counts,
    wer_value,
)
from .text_similarity import cosine_rows, cosine_signature

Rows = npt.NDArray[np.float64]


@dataclass(frozen=True)
class TextMetric:
    """One entry of the table of text metrics.

    Parameters
    ----------
    name, title : str
        Key in files, and name in reports.
    better : {"higher", "lower"}
    rows : callable
        Maps hypotheses and references to one row of counts per pair, (N, S). Metrics with the same
        callable share the rows.
    value : callable
        Maps the sum of rows, (S,), to the corpus score.
    signature : callable
        Returns package, version and options.
    per_sample : bool
        Whether the value of a single row is meaningful. Corpus BLEU of one short sentence is
        dominated by smoothing.
    needs : str
        Extra that installs the required package, or empty.
    """

    name: str
    title: str
    better: Literal["higher", "lower"]
    rows: Callable[[Sequence[str], Sequence[str]], Rows]
    value: Callable[[Rows], float]
    signature: Callable[[], str]
    per_sample: bool
    needs: str = ""


def _mean_of(column: int) -> Callable[[Rows], float]:
    return lambda total: float(total[column] / total[-1])


def bleu_signature(order: int, brevity: bool) -> str:
    """Signature of a sacrebleu metric, after the name of the metric."""
    from sacrebleu.metrics.bleu import BLEU

    metric = BLEU(max_ngram_order=order)
    metric.corpus_score(["a"], [["a"]])  # the signature includes the number of references
    return f"BLEU-{order}|{metric.get_signature()}{'' if brevity else '|bp:no'}"


def rouge_signature(kind: str) -> str:
    """Package, version and ROUGE variant; words are not stemmed."""
    return f"rouge-score {version('rouge-score')}|{kind}"


def _chrf_signature() -> str:
    from sacrebleu.metrics.chrf import CHRF

    metric = CHRF()
    metric.corpus_score(["a"], [["a"]])
    return f"chrF2|{metric.get_signature()}"


def _table() -> tuple[TextMetric, ...]:
    table = []
    for order in (1, 2, 4):
        for brevity in (True, False):
            table.append(
                TextMetric(
                    f"bleu{order}" + ("" if brevity else "_nobp"),
                    f"BLEU-{order}" + ("" if brevity else " without brevity penalty"),
                    "higher",
                    bleu_counts,
                    partial(bleu_value, order=order, brevity=brevity),
                    partial(bleu_signature, order, brevity),
                    per_sample=False,
                )
            )
    names = ("rouge1", "ROUGE-1"), ("rougeL", "ROUGE-L")
    for family, (key, title) in enumerate(names):
        for column, (letter, side) in enumerate((("p", "precision"), ("r", "recall"), ("f", "F"))):
            table.append(
                TextMetric(
                    f"{key}_{letter}",
                    f"{title} {side}",
                    "higher",
                    rouge_rows,
                    _mean_of(3 * family + column),
                    partial(rouge_signature, key),
                    per_sample=True,
                )
            )
    table += [
        TextMetric(
            "chrf", "chrF", "higher", chrf_counts, chrf_value, _chrf_signature, per_sample=True
        ),
        TextMetric(
            "wer",
            "word error rate",
            "lower",
            wer_counts,
            wer_value,
            lambda: "WER|words:white space|case:mixed",
            per_sample=True,
        ),
        TextMetric(
            "exact_match",
            "exact sentence",
            "higher",
            exact_rows,
            _mean_of(0),
            lambda: "equal strings",
            per_sample=True,
        ),
    ]
    pairs = (
        ("cider_d", "CIDEr-D", cider_rows, cider_signature, ""),
        ("meteor", "METEOR", meteor_rows, meteor_signature, ""),
        # text with text: CLIP-S compares text with an image
        ("cosine", "cosine of sentence embeddings", cosine_rows, cosine_signature, "demo"),
    )
    table += [
        TextMetric(name, title, "higher", rows, _mean_of(0), signature, True, needs)
        for name, title, rows, signature, needs in pairs
    ]
    return (*table, *_bert_metrics({}))


def _bert_metrics(options: Mapping[str, Any]) -> list[TextMetric]:
    def rows(hypotheses: Sequence[str], references: Sequence[str]) -> Rows:
        scores, _ = bert_score(hypotheses, references, **options)
        return np.column_stack([scores, np.ones(len(scores))])

    return [
        TextMetric(
            f"bertscore_{letter}",
            f"BERTScore {side}",
            "higher",
            rows,
            _mean_of(column),
            lambda: bert_score(["a"], [""], **options)[1],
            per_sample=True,
            needs="demo",
        )
        for column, (letter, side) in enumerate((("p", "precision"), ("r", "recall"), ("f", "F")))
    ]


def text_metrics(bert: bool | BertModel) -> list[TextMetric]:
    """Table of text metrics: without those of an encoder, with them, or with another BERTScore."""
    if not bert:
        return [m for m in TEXT_METRICS if not m.needs]
    plain = [m for m in TEXT_METRICS if not m.name.startswith("bertscore")]
    if isinstance(bert, BertModel):
        options = {"model": bert.name, "layer": bert.layer, "baseline": bert.baseline}
        return [*plain, *_bert_metrics(options)]
    return list(TEXT_METRICS)


TEXT_METRICS: tuple[TextMetric, ...] = _table()
