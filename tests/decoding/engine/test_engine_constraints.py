"""Constrained decoding and the scores of candidates against plain references."""

from __future__ import annotations

import re

import pytest
import torch
from engine_models import EOS, KINDS, VOCABULARY, engine_model, some_embeds

from fastbrain.decoding import DecodeEngine, Grammar, PhraseList, Sampling, score_pairs
from fastbrain.errors import InputError
from fastbrain.lm.word_lm import word_tokenizer

PHRASES = [[5, 6, 7], [5, 6], [5, 9], [11], [12, 13, 14, 15]]
# float32 sums in another order, over up to five tokens of 3 layers
REORDERED = 5e-4


def _log_p(llm, embeds: torch.Tensor, tokens: list[int]) -> float:
    with torch.no_grad():
        ids = torch.tensor([tokens])
        whole = torch.cat([embeds[None], llm.get_input_embeddings()(ids)], dim=1)
        logits = llm(inputs_embeds=whole).logits[0, len(embeds) - 1 : -1]
    return float(logits.log_softmax(-1).gather(1, ids.T).sum())


@pytest.mark.parametrize("method", ["greedy", "sample", "beam"])
@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_phrases_are_all_that_is_written(kind, method):
    engine = DecodeEngine(engine_model(kind), max_tokens=16, batch=6)
    sampling = Sampling(method, max_new_tokens=5, beams=4, temperature=5.0)
    found = engine.generate(
        some_embeds(6, 3), sampling=sampling, eos_token_id=EOS, constraint=PhraseList(PHRASES),
        seeds=range(6),
    )  # fmt: skip
    assert {tuple(row) for row in found.tokens} <= {tuple(row) for row in PHRASES}
    assert set(found.finish) <= {"end", "constraint"}


def test_a_wide_beam_finds_the_likeliest_phrase():
    llm, embeds = engine_model("llama", sharpness=1.5), some_embeds(4, 3)
    found = DecodeEngine(llm, max_tokens=16).generate(
        embeds,
        sampling=Sampling("beam", max_new_tokens=5, beams=8, length_penalty=0.0),
        eos_token_id=EOS,
        constraint=PhraseList(PHRASES),
        log_probability=True,
    )
    for row, value, tokens in zip(embeds, found.log_probability, found.tokens, strict=True):
        totals = {tuple(p): _log_p(llm, row, [*p, EOS]) for p in PHRASES}
        assert tuple(tokens) == max(totals, key=totals.get)
        assert value == pytest.approx(max(totals.values()), abs=REORDERED)


def test_a_phrase_without_end_token_ends_itself():
    engine = DecodeEngine(engine_model("llama"), max_tokens=16)
    found = engine.generate(
        some_embeds(1, 3), eos_token_id=None, constraint=PhraseList([[5, 6, 7]]),
        sampling=Sampling(max_new_tokens=9),
    )  # fmt: skip
    assert found.tokens == ((5, 6, 7),)
    assert found.finish == ("constraint",)


def test_constraints_that_cannot_be_kept_are_refused():
    engine = DecodeEngine(engine_model("llama"), max_tokens=16)
    with pytest.raises(InputError, match="PhraseList: phrases"):
        PhraseList([[3], []])
    with pytest.raises(InputError, match="PhraseList: phrases"):
        PhraseList([])
    with pytest.raises(InputError, match="constraint must be a token"):
        engine.generate(
            some_embeds(1, 3), eos_token_id=EOS, constraint=PhraseList([[VOCABULARY]]),
            sampling=Sampling(max_new_tokens=3),
        )  # fmt: skip
    with pytest.raises(InputError, match="min_new_tokens"):
        engine.generate(
            some_embeds(1, 3), eos_token_id=EOS, constraint=PhraseList([[3]]),
            sampling=Sampling(max_new_tokens=3, min_new_tokens=2),
        )  # fmt: skip
    with pytest.raises(InputError, match="beam search with a constraint"):
        engine.generate(
            some_embeds(1, 3), eos_token_id=None, constraint=PhraseList([[3]]),
            sampling=Sampling("beam", max_new_tokens=3),
        )  # fmt: skip


@pytest.mark.parametrize("step", ["kernel", "torch"])
@pytest.mark.parametrize("kind", KINDS)
def test_scores_equal_those_of_single_candidates(kind, step):
    llm = engine_model(kind)
    engine = DecodeEngine(llm, max_tokens=24, step=step)
    generator = torch.Generator().manual_seed(0)
    texts = [torch.randint(4, (n,), generator=generator).tolist() for n in (1, 2, 3, 5, 5, 4, 2)]
    texts = [*texts, texts[3][:2], texts[0]]  # a beginning of another, and one twice
    embeds = some_embeds(3, 6)
    found = engine.score(embeds, texts)
    for row, scores in zip(embeds, found.tolist(), strict=True):
        expected = [-_log_p(llm, row, text) for text in texts]
        assert scores == pytest.approx(expected, abs=REORDERED)
    engine.set_prefix(embeds[0, :4])
    assert torch.allclose(engine.score(embeds[:1, 4:], texts), found[:1], atol=REORDERED, rtol=0)


def test_scores_of_texts_and_biases_equal_score_pairs(monkeypatch):
    from fastbrain.decoding.engine import candidates

    monkeypatch.setattr(candidates, "_MOST_NODES", 7)  # several passes
    monkeypatch.setattr(candidates, "_LOGITS_AT_ONCE", 2 * VOCABULARY)
    llm = engine_model("qwen2")
    tokenizer = word_tokenizer(["a b c d e f g"])
    texts = ["a b", "a b c", "d", "e f g a", "a c"]
    bias = torch.randn(2, VOCABULARY, generator=torch.Generator().manual_seed(1))
    engine = DecodeEngine(llm, tokenizer, max_tokens=24)
    found = engine.score(some_embeds(2, 3), texts, logit_bias=bias)
    ids = [[*tokenizer.encode(t, add_special_tokens=False), 2] for t in texts]
    padded = torch.tensor([row + [0] * (5 - len(row)) for row in ids])
    mask = torch.tensor([[i < len(row) for i in range(5)] for row in ids])
    pairs = torch.cartesian_prod(torch.arange(2), torch.arange(5))
    nll = score_pairs(llm, some_embeds(2, 3), padded, mask, pairs, logit_bias=bias)
    assert torch.allclose(found.float(), nll.sum(1).reshape(2, 5), atol=REORDERED)
    for bad in ([], [[]], [["a"]], "a b", [[VOCABULARY]]):
        with pytest.raises(InputError, match="candidates must be"):
            engine.score(some_embeds(2, 3), bad)


@pytest.mark.parametrize(
    ("rules", "pattern", "cut"),
    [
        ({"regex": "(a|b)( (c|d)){2,3}"}, "(a|b)( (c|d)){2,3}", None),
        # it may go on for ever; " c" is a token or two, and the end may be missing
        ({"lark": 'start: "a" (" b" | " c")+ " d"'}, "a( b| c)+ d", "a( b| c)*( |(?<=[bc]) d)?"),
    ],
)
@pytest.mark.parametrize("method", ["greedy", "sample", "beam"])
def test_a_regular_expression_or_grammar_is_kept(byte_tokenizer, method, rules, pattern, cut):
    pytest.importorskip("llguidance", reason="the extra 'constrained' is not installed")
    engine = DecodeEngine(engine_model("llama"), byte_tokenizer, max_tokens=40)
    grammar = Grammar(byte_tokenizer, vocabulary=VOCABULARY, **rules)
    found = engine.generate(
        some_embeds(4, 3), constraint=grammar, seeds=range(4),
        sampling=Sampling(method, max_new_tokens=24, beams=3, temperature=4.0),
    )  # fmt: skip
    for text, finish in zip(found.texts(byte_tokenizer), found.finish, strict=True):
        allowed = cut if finish == "length" else pattern
        assert allowed is not None
        assert re.fullmatch(allowed, text)


def test_a_grammar_leaves_out_tokens_that_the_model_lacks(byte_tokenizer):
    pytest.importorskip("llguidance", reason="the extra 'constrained' is not installed")
    grammar = Grammar(byte_tokenizer, regex=".*")
    whole = grammar.allowed(grammar.start())
    most = int(whole.max())
    fewer = Grammar(byte_tokenizer, regex=".*", vocabulary=most)
    assert fewer.allowed(fewer.start()).tolist() == whole[whole < most].tolist()


def test_bad_grammars_are_refused(byte_tokenizer):
    with pytest.raises(InputError, match="exactly one"):
        Grammar(byte_tokenizer)
    pytest.importorskip("llguidance", reason="the extra 'constrained' is not installed")
    with pytest.raises(InputError, match="regex must be readable"):
        Grammar(byte_tokenizer, regex="(a")
    with pytest.raises(InputError, match="tokenizer must be a"):
        Grammar(object(), regex="a")


@pytest.fixture(scope="module")
def byte_tokenizer():
    """A byte-level tokenizer with few letters, an end token, and two tokens of several letters."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = ["<pad>", "<eos>", *"abcdefgh", "Ġ", "Ġc", "Ġd"]
    core = Tokenizer(models.BPE({w: i for i, w in enumerate(words)}, [("Ġ", "c"), ("Ġ", "d")]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=core, pad_token="<pad>", eos_token="<eos>")
