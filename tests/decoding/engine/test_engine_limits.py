"""What the engine refuses, and what it keeps where PyTorch or a caller does something unusual."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from engine_models import EOS, VOCABULARY, engine_model, some_embeds
from torch import nn

from fastbrain.decoding import DecodeEngine, PhraseList, Sampling
from fastbrain.errors import BackendError, InputError
from fastbrain.lm.word_lm import word_tokenizer

METHODS = ("greedy", "sample", "beam")
EMBEDS = some_embeds(2, 3)


class DeadEnd:
    """A constraint that allows one token, after which nothing may follow and nothing may end."""

    def __init__(self, allowed) -> None:
        self._first = allowed

    def start(self):
        return 0

    def allowed(self, state):
        return torch.empty(0, dtype=torch.int64) if state else self._first

    def advance(self, state, token):
        return state + 1

    def complete(self, state):
        return False


def _written(engine, method, **options):
    sampling = Sampling(method, max_new_tokens=4, beams=3)
    return engine.generate(EMBEDS, sampling=sampling, eos_token_id=EOS, **options)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("log_probability", [False, True])
def test_a_text_ends_where_no_token_may_follow(method, log_probability):
    engine = DecodeEngine(engine_model("llama"), max_tokens=16)
    banned = torch.zeros(2, VOCABULARY)
    banned[0, [5, 6]] = -torch.inf
    found = _written(
        engine, method, constraint=PhraseList([[5, 7], [6]]), logit_bias=banned,
        log_probability=log_probability,
    )  # fmt: skip
    assert found.tokens[0] == ()
    assert found.finish[0] == "constraint"
    assert found.tokens[1] in {(5, 7), (6,)}
    found = _written(
        engine, method, constraint=DeadEnd(torch.tensor([5])), log_probability=log_probability
    )
    assert set(found.finish) == {"constraint"}
    assert set(found.tokens) <= {(5,), ()}


@pytest.mark.parametrize(
    ("constraint", "match"),
    [
        (PhraseList([[5, EOS, 6]]), "no end token, got 1"),
        (DeadEnd(torch.tensor([VOCABULARY])), r"tokens in \[0, 53\), got 53"),
        (DeadEnd([5]), "int64, got list"),
    ],
)
def test_constraints_with_tokens_that_cannot_be_written_are_refused(constraint, match):
    engine = DecodeEngine(engine_model("llama"), max_tokens=16)
    with pytest.raises(InputError, match=match):
        _written(engine, "greedy", constraint=constraint)


def test_a_phrase_without_a_word_is_refused():
    with pytest.raises(InputError, match="texts must hold words, got ' '"):
        PhraseList.from_texts(word_tokenizer(["a cat"]), ["a cat", " "])


def test_a_prefix_of_another_engine_is_refused():
    llm = engine_model("llama")
    engine, other = DecodeEngine(llm, max_tokens=16), DecodeEngine(llm, max_tokens=24)
    prefix = other.prefix([3, 4], bos=False)
    with pytest.raises(InputError, match="generate: a prefix must be of the engine"):
        _written(engine, "greedy", prefixes=[prefix, None])
    with pytest.raises(InputError, match="set_prefix: a prefix must be of the engine"):
        engine.set_prefix(prefix)


def test_a_rewind_that_is_interrupted_is_done_again():
    engine = DecodeEngine(engine_model("llama"), max_tokens=16)
    first, second = (engine.prefix(ids, bos=False) for ids in ([3, 4], [5, 6]))
    expected = _written(engine, "greedy", prefixes=[first, first]).tokens
    cache = engine._rows.cache
    # its keys are copied, its values cannot be
    broken = dataclasses.replace(second, values=second.values[..., :-1])
    with pytest.raises(RuntimeError, match="size"):
        cache.rewind(0, broken)
    assert _written(engine, "greedy", prefixes=[first, first]).tokens == expected


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
@pytest.mark.parametrize("default", [torch.bfloat16, torch.float64, "meta"])
def test_defaults_of_pytorch_change_nothing(kind, default):
    llm = engine_model(kind)

    def results():
        engine = DecodeEngine(llm, max_tokens=16)
        texts = [
            _written(engine, method, logit_bias=bias, constraint=constraint).tokens
            for method in METHODS
            for constraint in (None, phrases)
        ]
        return texts, engine.score(EMBEDS, [[3, 4], [5]]).tolist()

    bias, phrases = torch.zeros(2, VOCABULARY), PhraseList([[5, 7], [6]])
    expected = results()
    try:
        if isinstance(default, str):
            torch.set_default_device(default)
        else:
            torch.set_default_dtype(default)
        found = results()
    finally:
        torch.set_default_device(None)
        torch.set_default_dtype(torch.float32)
    assert found == expected


def test_reduced_weights_need_the_kernel():
    with pytest.raises(BackendError, match="reads the weights of the model"):
        DecodeEngine(engine_model("llama"), max_tokens=16, weights="int8", step="torch")


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"seeds": ["a", 1]}, "seeds must be 2 integers"),
        ({"seeds": [1.5, 2]}, "seeds must be 2 integers"),
        ({"seeds": 5}, "seeds must be 2 integers"),
        ({"on_token": 5}, "on_token must be a function or None, got int"),
        ({"cancelled": "no"}, "cancelled must be a function or None, got str"),
    ],
)
def test_bad_options_are_refused(options, match):
    engine = DecodeEngine(engine_model("llama"), max_tokens=16)
    with pytest.raises(InputError, match=match):
        _written(engine, "greedy", **options)


def test_a_text_of_one_number_is_refused():
    with pytest.raises(InputError, match="two or more tokens"):
        DecodeEngine(engine_model("llama"), max_tokens=16).text_nll(5)


def test_weights_that_are_not_contiguous_are_read():
    llm = engine_model("gpt2")
    expected = _written(DecodeEngine(llm, max_tokens=16), "greedy").tokens
    for module in llm.modules():
        if isinstance(module, nn.LayerNorm):
            for name in ("weight", "bias"):
                wide = getattr(module, name).data.repeat_interleave(2)
                setattr(module, name, nn.Parameter(wide[::2]))
    assert _written(DecodeEngine(llm, max_tokens=16), "greedy").tokens == expected


class Packed(nn.Module):
    """A layer as quantisation makes it: its weight is a method."""

    def weight(self):
        return None


def test_models_of_several_precisions_and_quantised_ones_are_refused():
    llm = engine_model("llama")
    llm.lm_head.bfloat16()
    assert "bfloat16 and float32" in DecodeEngine.can_run(llm)
    llm = engine_model("llama")
    llm.model.layers[0].self_attn.q_proj, llm.lm_head = Packed(), Packed()
    assert "q_proj is a test_engine_limits.Packed" in DecodeEngine.can_run(llm)
