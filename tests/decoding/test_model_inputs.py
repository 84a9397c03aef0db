"""What generation and scoring refuse before the first forward pass, and several end tokens."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GPT2Model,
    MambaConfig,
    MambaForCausalLM,
    OpenAIGPTConfig,
    OpenAIGPTLMHeadModel,
    T5Config,
    T5ForConditionalGeneration,
)

from fastbrain.decoding import Sampling, generate, score_matrix, score_pairs, score_steered
from fastbrain.errors import ConfigError, InputError
from fastbrain.lm import load_llm
from fastbrain.lm.end_tokens import end_tokens_of

VOCABULARY, WIDTH, CONTEXT = 21, 8, 16
SHORT = Sampling(max_new_tokens=6)


@pytest.fixture(scope="module")
def llm():
    torch.manual_seed(1)
    config = GPT2Config(
        vocab_size=VOCABULARY, n_embd=WIDTH, n_layer=1, n_head=2, n_positions=CONTEXT,
        bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    model = GPT2LMHeadModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(4.0)  # flat logits would make all words alike
    return model.requires_grad_(False)


@pytest.fixture(scope="module")
def embeds():
    return torch.randn(3, 4, WIDTH, generator=torch.Generator().manual_seed(5))


def _untouched(llm, monkeypatch):
    """A language model whose forward pass must not run."""

    def forward(*_args, **_options):
        raise AssertionError("the model was called")

    monkeypatch.setattr(llm, "forward", forward)
    return llm


def _free(llm, embeds, method="greedy"):
    sampling = Sampling(method, max_new_tokens=6, beams=3)
    return generate(llm, embeds, eos_token_id=None, sampling=sampling)


@pytest.mark.parametrize("kind", [list, tuple, torch.tensor])
@pytest.mark.parametrize("method", ["greedy", "sample"])
def test_any_of_several_end_tokens_ends_a_text(llm, embeds, kind, method):
    free = _free(llm, embeds, method)
    ends = [int(free.tokens[0, 3]), int(free.tokens[1, 1])]
    said = generate(
        llm, embeds, eos_token_id=kind(ends), sampling=Sampling(method, max_new_tokens=6)
    )
    for row in range(len(embeds)):
        words = free.tokens[row].tolist()
        expected = next((i for i, word in enumerate(words) if word in ends), len(words))
        assert int(said.lengths[row]) == expected
        assert said.tokens[row, :expected].tolist() == words[:expected]


@pytest.mark.parametrize(
    ("ends", "least"),
    # with a single word left, as many words as asked for would make all beams equal
    [([1], 0), ([1], 3), ([1, 2, 5], 0), ([1, 2, 5], 3), (list(range(1, VOCABULARY)), 0)],
)
def test_beam_with_several_ends_equals_hugging_face(llm, embeds, ends, least):
    options = {"max_new_tokens": 6, "min_new_tokens": least}
    said = generate(
        llm, embeds, eos_token_id=ends, pad_token_id=0,
        sampling=Sampling("beam", beams=3, **options),
    )  # fmt: skip
    expected = llm.generate(
        inputs_embeds=embeds, attention_mask=torch.ones(embeds.shape[:2], dtype=torch.long),
        num_beams=3, do_sample=False, eos_token_id=ends, pad_token_id=0, **options,
    )  # fmt: skip
    for row, words in enumerate(expected.tolist()):
        stop = next((i for i, word in enumerate(words) if word in ends), len(words))
        assert said.tokens[row, : said.lengths[row]].tolist() == words[:stop]


@pytest.mark.parametrize("method", ["greedy", "sample", "beam"])
def test_no_end_token_never_stops(llm, embeds, method):
    free = _free(llm, embeds, method)
    assert free.lengths.tolist() == [6, 6, 6]
    assert free.tokens.shape == (3, 6)


def test_the_default_padding_is_the_first_end_token(llm, embeds):
    free = _free(llm, embeds)
    end = int(free.tokens[0, 2])
    said = generate(llm, embeds, eos_token_id=[end, 1], sampling=SHORT)
    for row in range(3):
        assert (said.tokens[row, said.lengths[row] :] == end).all()


@pytest.mark.parametrize(
    "ends",
    [VOCABULARY, -1, [1, VOCABULARY], [], "x", [None], True, 1.0, torch.tensor([1.0]),
     list(range(VOCABULARY))],
    ids=repr,
)  # fmt: skip
def test_end_tokens_out_of_the_vocabulary_are_refused(llm, embeds, ends, monkeypatch):
    with pytest.raises(InputError, match="eos_token_id must be"):
        generate(_untouched(llm, monkeypatch), embeds, eos_token_id=ends, sampling=SHORT)


def test_integers_of_numpy_are_tokens_and_floats_are_not(llm, embeds):
    one = generate(llm, embeds, eos_token_id=1, sampling=SHORT)
    same = generate(llm, embeds, eos_token_id=np.int64(1), sampling=SHORT)
    assert torch.equal(one.tokens, same.tokens)
    with pytest.raises(InputError, match="eos_token_id must be integers, got float32"):
        generate(llm, embeds, eos_token_id=torch.tensor([1.0]), sampling=SHORT)


@pytest.mark.parametrize("pad", [VOCABULARY, -1, "x", 1.5])
def test_padding_out_of_the_vocabulary_is_refused(llm, embeds, pad):
    with pytest.raises(InputError, match="pad_token_id must be a token"):
        generate(llm, embeds, eos_token_id=1, pad_token_id=pad, sampling=SHORT)


def test_more_than_the_context_is_refused(llm, embeds, monkeypatch):
    fits = Sampling(max_new_tokens=CONTEXT - 4)
    assert generate(llm, embeds, eos_token_id=None, sampling=fits).tokens.shape == (3, CONTEXT - 4)
    untouched = _untouched(llm, monkeypatch)
    with pytest.raises(InputError, match="must fit the language model's context of 16"):
        generate(untouched, embeds, eos_token_id=1, sampling=Sampling(max_new_tokens=CONTEXT - 3))
    texts = torch.ones(1, CONTEXT - 3, dtype=torch.long)
    with pytest.raises(InputError, match="must fit the language model's context of 16"):
        score_matrix(untouched, embeds, texts, texts.bool())
    with pytest.raises(InputError, match="must fit the language model's context of 16"):
        score_steered(untouched, embeds[:1], texts, texts.bool(), torch.zeros(2, VOCABULARY))


def _foreign():
    mamba = MambaConfig(hidden_size=WIDTH, num_hidden_layers=1, state_size=2, vocab_size=VOCABULARY)
    t5 = T5Config(
        d_model=WIDTH, d_kv=4, d_ff=8, num_layers=1, num_heads=2, vocab_size=VOCABULARY,
        decoder_start_token_id=0,
    )  # fmt: skip
    gpt = {"vocab_size": VOCABULARY, "n_embd": WIDTH, "n_layer": 1, "n_head": 2}
    return {
        "without an output layer": lambda: GPT2Model(GPT2Config(**gpt)).eval(),
        "without a cache": lambda: OpenAIGPTLMHeadModel(OpenAIGPTConfig(**gpt)).eval(),
        "training mode": lambda: GPT2LMHeadModel(GPT2Config(**gpt)).train(),
        "recurrent state": lambda: MambaForCausalLM(mamba),
        "decoder-only": lambda: T5ForConditionalGeneration(t5),
        "causal language model": lambda: torch.nn.Linear(2, 2),
    }


@pytest.mark.parametrize("reason", _foreign())
def test_models_without_a_key_value_cache_are_refused(embeds, reason):
    model = _foreign()[reason]()
    texts = torch.ones(1, 2, dtype=torch.long)
    calls = (
        lambda: generate(model, embeds, eos_token_id=1, sampling=SHORT),
        lambda: score_matrix(model, embeds, texts, texts.bool()),
        lambda: score_steered(model, embeds[:1], texts, texts.bool(), torch.zeros(1, VOCABULARY)),
    )
    for call in calls:
        with pytest.raises(InputError, match=reason):
            call()


def test_a_recurrent_model_is_refused_when_it_is_loaded(tmp_path):
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({"[EOS]": 0, "a": 1}, unk_token="a"))
    PreTrainedTokenizerFast(tokenizer_object=words, eos_token="[EOS]").save_pretrained(tmp_path)
    _foreign()["recurrent state"]().save_pretrained(tmp_path)
    with pytest.raises(InputError, match="MambaForCausalLM with a recurrent state"):
        load_llm(str(tmp_path), attn="eager")


def test_embeddings_are_read_in_the_precision_of_the_model(llm, embeds):
    import copy

    half = copy.deepcopy(llm).bfloat16()
    said = generate(half, embeds, eos_token_id=None, sampling=SHORT)
    rounded = generate(half, embeds.bfloat16(), eos_token_id=None, sampling=SHORT)
    assert said.tokens.tolist() == rounded.tokens.tolist()
    texts = torch.ones(1, 2, dtype=torch.long)
    nll = score_matrix(half, embeds, texts, texts.bool())
    assert torch.equal(nll, score_matrix(half, embeds.bfloat16(), texts, texts.bool()))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("method", ["greedy", "sample", "beam"])
def test_embeddings_that_are_not_finite_are_refused(llm, embeds, method, bad, monkeypatch):
    broken = embeds.clone()
    broken[1, 2, 3] = bad
    untouched = _untouched(llm, monkeypatch)
    with pytest.raises(InputError, match="inputs_embeds must be finite"):
        generate(untouched, broken, eos_token_id=1, sampling=Sampling(method, max_new_tokens=4))
    texts = torch.ones(1, 2, dtype=torch.long)
    with pytest.raises(InputError, match="prefixes must be finite"):
        score_matrix(untouched, broken, texts, texts.bool())


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("method", ["greedy", "sample", "beam"])
def test_logits_that_are_not_finite_are_refused(embeds, llm, method, bad):
    import copy

    broken = copy.deepcopy(llm)
    with torch.no_grad():
        broken.transformer.ln_f.weight[0] = bad
    with pytest.raises(InputError, match="must predict finite logits"):
        generate(broken, embeds, eos_token_id=1, sampling=Sampling(method, max_new_tokens=4))
    texts = torch.ones(1, 2, dtype=torch.long)
    with pytest.raises(InputError, match="must predict finite logits"):
        score_matrix(broken, embeds, texts, texts.bool())


def test_a_bias_may_ban_words_but_not_all(llm, embeds):
    bias = torch.zeros(3, VOCABULARY)
    bias[:, 7:] = -torch.inf
    said = generate(llm, embeds, eos_token_id=None, sampling=SHORT, logit_bias=bias)
    assert int(said.tokens.max()) < 7
    for bad in (torch.full_like(bias, -torch.inf), bias * torch.nan, bias[:, :3], bias.long()):
        with pytest.raises(InputError, match="logit_bias must"):
            generate(llm, embeds, eos_token_id=None, sampling=SHORT, logit_bias=bad)
    only = torch.full((3, VOCABULARY), -torch.inf)
    only[:, 1] = 0.0
    with pytest.raises(InputError, match="logit_bias must"):
        generate(
            llm, embeds, eos_token_id=1, logit_bias=only,
            sampling=Sampling(max_new_tokens=4, min_new_tokens=2),
        )  # fmt: skip


@pytest.mark.parametrize(
    ("texts", "mask"),
    [
        (torch.full((1, 2), VOCABULARY), torch.ones(1, 2, dtype=torch.bool)),
        (torch.full((1, 2), -1), torch.ones(1, 2, dtype=torch.bool)),
        (torch.ones(1, 2), torch.ones(1, 2, dtype=torch.bool)),
        (torch.ones(1, 3, dtype=torch.long), torch.tensor([[True, False, True]])),
        (torch.ones(1, 2, dtype=torch.long), torch.ones(1, 2)),
    ],
    ids=["beyond", "negative", "float", "gap", "mask"],
)
def test_texts_that_are_no_tokens_are_refused(llm, embeds, texts, mask):
    with pytest.raises(InputError, match="texts"):
        score_pairs(llm, embeds, texts, mask, torch.tensor([[0, 0]]))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("method", None), ("max_new_tokens", 2.5), ("max_new_tokens", 2**70), ("beams", "3"),
        ("beams", 0), ("temperature", float("nan")), ("temperature", True), ("top_p", None),
        ("repetition_penalty", float("inf")), ("length_penalty", float("nan")),
        ("length_penalty", float("inf")), ("length_penalty", 1e9), ("seed", -1), ("seed", None),
        ("temperature", 1e-40), ("temperature", 1e40), ("repetition_penalty", 1e-40),
        ("repetition_penalty", 1e40), ("top_p", 1e-300), ("top_p", 0.0),
    ],
)  # fmt: skip
def test_every_field_of_sampling_is_checked(field, value):
    with pytest.raises(ConfigError, match=f"Sampling: .*{field}"):
        Sampling(**{field: value})


@pytest.mark.parametrize(
    ("listed", "expected"),
    [(None, [3]), (3, [3]), ([3, 4], [3, 4]), ([4, 9], [3, 4]), (9, [3])],
)
def test_special_tokens_of_the_generation_settings_end_a_text_too(listed, expected):
    tokenizer = SimpleNamespace(eos_token_id=3, all_special_ids=[3, 4])
    llm = SimpleNamespace(generation_config=SimpleNamespace(eos_token_id=listed))
    assert end_tokens_of(tokenizer, llm) == expected
