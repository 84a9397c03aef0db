"""The whole evaluation on decoders whose skill is known."""

from __future__ import annotations

import json

import numpy as np
import pytest

from fastbrain.errors import InputError
from fastbrain.evaluation import Sample, evaluate_text

WORDS = ["ball", "book", "chair", "guitar", "cake", "box", "tree", "lamp"]


def _samples(decoded):
    return [
        Sample(f"t{i}", "01", f"run-{i % 4}", f"a person sees a {WORDS[i % 8]} now", text)
        for i, text in enumerate(decoded)
    ]


def test_perfect_decoder():
    samples = _samples([f"a person sees a {WORDS[i % 8]} now" for i in range(16)])
    nll = np.array([[1.0 + (a.truth != b.truth) for b in samples] for a in samples])
    metrics = evaluate_text(samples, nll, bert=False).metrics
    assert metrics["pairwise_accuracy"] > 0.9
    assert metrics["bleu1"] == pytest.approx(1.0)
    assert metrics["rougeL_f"] == 1.0
    assert metrics["bleu1_permuted"] < 0.9
    for name in ("pairwise_p", "bleu1_pvalue", "bleu2_pvalue", "rougeL_f_pvalue"):
        assert metrics[name] == pytest.approx(1 / 101)
    json.dumps(metrics, allow_nan=False)


def test_a_template_scores_high_but_is_no_better_than_permuted():
    samples = _samples(["a person sees a ball now"] * 16)
    metrics = evaluate_text(samples, np.zeros((16, 16)), bert=False).metrics
    assert metrics["bleu1"] > 0.7
    assert metrics["bleu1"] == pytest.approx(metrics["bleu1_permuted"])
    assert metrics["bleu1_pvalue"] == 1.0
    assert metrics["pairwise_accuracy"] == 0.5
    assert metrics["distinct_outputs"] == 1 / 16


def test_bert_score_beside_its_permuted_value():
    pytest.importorskip("bert_score")
    samples = _samples([f"a person sees a {WORDS[i % 8]} now" for i in range(8)])
    metrics = evaluate_text(samples, 1.0 - np.eye(8)).metrics
    assert metrics["bertscore_f"] > metrics["bertscore_f_permuted"]
    assert "bert-score" in metrics["signatures"]["bertscore"]


def test_permuted_text_is_never_of_the_same_run():
    samples = _samples([f"run-{i % 4}" for i in range(16)])
    result = evaluate_text(samples, np.zeros((16, 16)), bert=False)
    assert all(text != s.run_id for text, s in zip(result.permuted, samples, strict=True))


def test_too_few_derangements_and_no_samples_are_refused():
    with pytest.raises(InputError, match="count"):
        evaluate_text(_samples(["x"] * 8), np.zeros((8, 8)), count=50)
    with pytest.raises(InputError, match="empty"):
        evaluate_text([], np.zeros((0, 0)))
