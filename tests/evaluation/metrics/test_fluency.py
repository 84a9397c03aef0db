"""Fluency: likelihood under a second model, variety and copied word runs."""

from __future__ import annotations

import math

import pytest
import torch

from fastbrain.errors import InputError
from fastbrain.evaluation import fluency
from fastbrain.evaluation.metrics.fluency import copied_runs


class _Tokens:
    """Tokens are letters; the start has the number 1."""

    bos_token_id = 1
    eos_token_id = None

    def __call__(self, text, add_special_tokens):
        assert not add_special_tokens
        return {"input_ids": [2 + ord(c) % 5 for c in text]}

    def convert_ids_to_tokens(self, number):
        return f"<{number}>"


class _Uniform:
    """All seven tokens are equally likely."""

    device = torch.device("cpu")
    config = type("Config", (), {"max_position_embeddings": 64})()

    def __call__(self, input_ids, attention_mask):
        return type("Out", (), {"logits": torch.zeros(*input_ids.shape, 7)})()


def test_nats_a_word_of_a_uniform_model():
    texts = ["ab cd", "", "efghi"] * 7
    found = fluency(texts, judge=(_Uniform(), _Tokens()), name="uniform")
    # five letters and five letters for three words, padding and the blank text left out
    assert found.nll == pytest.approx(10 * math.log(7) / 3)
    assert found.signature == "nats a word|uniform|after <1>"
    assert fluency(["", " "], judge=(_Uniform(), _Tokens())).nll is None


class _Recalling(_Uniform):
    """The next token is that before; what is not seen has a probability of next to nothing."""

    def __call__(self, input_ids, attention_mask):
        assert input_ids.shape[1] <= self.config.max_position_embeddings
        logits = 4.0 * torch.nn.functional.one_hot(input_ids, 7)
        return type("Out", (), {"logits": logits.float()})()


@pytest.mark.parametrize("letters", [63, 64, 65, 95, 200])
def test_every_word_beyond_the_context_is_scored(letters):
    found = fluency(["a" * letters], judge=(_Recalling(), _Tokens()))
    hit = math.log(math.exp(4) + 6) - 4
    # the first letter follows the start, which it is not
    assert found.nll == pytest.approx(hit * (letters - 1) + hit + 4)


def test_a_judge_that_predicts_nan_is_refused():
    judge = _Uniform()
    judge.__class__ = type("Broken", (_Uniform,), {"__call__": _nan})
    with pytest.raises(InputError, match="judge must predict finite probabilities"):
        fluency(["a b"], judge=(judge, _Tokens()))


def _nan(self, input_ids, attention_mask):
    return type("Out", (), {"logits": torch.full((*input_ids.shape, 7), torch.nan)})()


def test_copied_runs_of_four_words():
    train = ["The cat sat on the mat.", "a b"]
    assert copied_runs(["the cat sat on", "one two three four"], train) == 0.5
    assert copied_runs(["the cat sat"], train) is None
    assert fluency(["x y z w v"], train_texts=train).copied == 0.0
    assert fluency(["x"]).copied is None


def test_variety_needs_no_model():
    found = fluency(["a b", "a b"])
    assert (found.nll, found.distinct1, found.distinct2) == (None, 0.5, 0.5)
    assert found.to_json()["n"] == 2


def test_wrong_arguments_are_refused():
    with pytest.raises(InputError, match="at least one"):
        fluency([])
    tokens = _Tokens()
    tokens.bos_token_id = None
    with pytest.raises(InputError, match="BOS or EOS"):
        fluency(["a"], judge=(_Uniform(), tokens))
