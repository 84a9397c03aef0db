"""Our decode loop against Hugging Face's generate, and against itself."""

from __future__ import annotations

import pytest
import torch
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from fastbrain.decoding import Sampling, generate
from fastbrain.errors import ConfigError, InputError

EOS, PAD, VOCABULARY = 1, 0, 23


def _llama() -> LlamaForCausalLM:
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY, hidden_size=16, intermediate_size=24, num_hidden_layers=2,
            num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=64,
            bos_token_id=2, eos_token_id=EOS, pad_token_id=PAD,
        )
    )  # fmt: skip


def _gpt2() -> GPT2LMHeadModel:
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=VOCABULARY, n_embd=16, n_layer=2, n_head=2, n_positions=64,
            bos_token_id=2, eos_token_id=EOS, pad_token_id=PAD,
        )
    )  # fmt: skip


def _qwen2() -> Qwen2ForCausalLM:
    return Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=VOCABULARY, hidden_size=16, intermediate_size=24, num_hidden_layers=2,
            num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=64,
            bos_token_id=2, eos_token_id=EOS, pad_token_id=PAD,
        )
    )  # fmt: skip


@pytest.fixture(params=[_llama, _gpt2, _qwen2], ids=["llama", "gpt2", "qwen2"])
def llm(request):
    torch.manual_seed(3)
    model = request.param().eval()
    # random weights give flat logits: sharpen them so that beams differ and some texts end
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3.0)
    return model


def _embeds(batch: int = 5, length: int = 4) -> torch.Tensor:
    return torch.randn(batch, length, 16, generator=torch.Generator().manual_seed(7))


@pytest.mark.parametrize(
    ("sampling", "options"),
    [
        (Sampling(max_new_tokens=9), {"num_beams": 1}),
        (Sampling(max_new_tokens=9, min_new_tokens=5), {"num_beams": 1, "min_new_tokens": 5}),
        (
            Sampling(max_new_tokens=9, repetition_penalty=2.0),
            {"num_beams": 1, "repetition_penalty": 2.0},
        ),
        (Sampling("beam", max_new_tokens=9, beams=3), {"num_beams": 3}),
        (
            Sampling("beam", max_new_tokens=7, beams=5, length_penalty=0.3, min_new_tokens=2),
            {"num_beams": 5, "length_penalty": 0.3, "min_new_tokens": 2},
        ),
        (
            Sampling("beam", max_new_tokens=8, beams=4, repetition_penalty=1.5),
            {"num_beams": 4, "repetition_penalty": 1.5},
        ),
    ],
    ids=["greedy", "greedy-min", "greedy-penalty", "beam", "beam-length", "beam-penalty"],
)
def test_equals_hugging_face_generate(llm, sampling, options):
    embeds = _embeds()
    expected = llm.generate(
        inputs_embeds=embeds,
        attention_mask=torch.ones(embeds.shape[:2], dtype=torch.long),
        do_sample=False,
        max_new_tokens=sampling.max_new_tokens,
        eos_token_id=EOS,
        pad_token_id=PAD,
        **options,
    )
    result = generate(llm, embeds, eos_token_id=EOS, pad_token_id=PAD, sampling=sampling)
    for row in range(len(embeds)):
        words = expected[row].tolist()
        words = words[: words.index(EOS)] if EOS in words else words
        words = words[: sampling.max_new_tokens]
        assert result.tokens[row, : result.lengths[row]].tolist() == words


@pytest.mark.parametrize("method", ["greedy", "beam"])
def test_a_row_does_not_depend_on_its_batch(llm, method):
    sampling, embeds = Sampling(method, max_new_tokens=6, beams=3), _embeds()
    together = generate(llm, embeds, eos_token_id=EOS, pad_token_id=PAD, sampling=sampling)
    for row in range(len(embeds)):
        alone = generate(
            llm, embeds[row : row + 1], eos_token_id=EOS, pad_token_id=PAD, sampling=sampling
        )
        n = int(alone.lengths[0])
        assert together.lengths[row] == n
        assert together.tokens[row, :n].tolist() == alone.tokens[0, :n].tolist()


def test_left_padding_changes_nothing(llm):
    embeds = _embeds(batch=2)
    padded = torch.cat([torch.randn(2, 3, 16), embeds], dim=1)
    mask = torch.cat([torch.zeros(2, 3), torch.ones(2, 4)], dim=1).long()
    options = {"eos_token_id": EOS, "pad_token_id": PAD, "sampling": Sampling(max_new_tokens=6)}
    plain = generate(llm, embeds, **options)
    shifted = generate(llm, padded, attention_mask=mask, **options)
    assert torch.equal(plain.tokens, shifted.tokens)


def test_sampling_is_seeded_and_top_p_zero_limit_is_greedy(llm):
    options = {"eos_token_id": EOS, "pad_token_id": PAD}
    draw = [
        generate(llm, _embeds(), sampling=Sampling("sample", seed=seed, temperature=2.0), **options)
        for seed in (1, 1, 2)
    ]
    assert torch.equal(draw[0].tokens, draw[1].tokens)
    assert draw[0].tokens.shape != draw[2].tokens.shape or not torch.equal(
        draw[0].tokens, draw[2].tokens
    )
    narrow = generate(llm, _embeds(), sampling=Sampling("sample", top_p=1e-6), **options)
    greedy = generate(llm, _embeds(), sampling=Sampling(), **options)
    assert torch.equal(narrow.tokens, greedy.tokens)


def test_log_probability_is_that_of_the_tokens(llm):
    embeds = _embeds(batch=1)
    result = generate(
        llm, embeds, eos_token_id=EOS, pad_token_id=PAD, sampling=Sampling(max_new_tokens=5)
    )
    n = int(result.lengths[0])
    ids = result.tokens[:, :n]
    if n < 5:
        ids = torch.cat([ids, torch.tensor([[EOS]])], dim=1)
    everything = torch.cat([embeds, llm.get_input_embeddings()(ids)], dim=1)
    logits = llm(inputs_embeds=everything).logits[:, embeds.shape[1] - 1 : -1]
    expected = torch.log_softmax(logits, -1).gather(2, ids[..., None]).sum()
    assert float(result.log_probability[0]) == pytest.approx(float(expected), abs=1e-4)


def test_empty_batch(llm):
    result = generate(llm, _embeds(batch=0), eos_token_id=EOS, pad_token_id=PAD)
    assert result.tokens.shape[0] == 0
    assert result.lengths.shape == (0,)


@pytest.mark.parametrize(
    "bad",
    [
        {"method": "magic"},
        {"max_new_tokens": 0},
        {"min_new_tokens": 9, "max_new_tokens": 3},
        {"method": "beam", "beams": 1},
        {"temperature": 0.0},
        {"top_p": 0.0},
        {"repetition_penalty": float("nan")},
    ],
)
def test_bad_options_are_refused(bad):
    with pytest.raises(ConfigError, match=r"^Sampling: .* got "):
        Sampling(**bad)


def test_bad_shapes_are_refused(llm):
    with pytest.raises(InputError, match="inputs_embeds"):
        generate(llm, torch.zeros(2, 16), eos_token_id=EOS, pad_token_id=PAD)
    with pytest.raises(InputError, match="left"):
        generate(
            llm,
            _embeds(batch=2),
            eos_token_id=EOS,
            pad_token_id=PAD,
            attention_mask=torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]]),
        )


@pytest.mark.parametrize("method", ["greedy", "beam"])
def test_a_bias_follows_its_row(method):
    torch.manual_seed(0)
    llm = GPT2LMHeadModel(GPT2Config(vocab_size=19, n_embd=12, n_layer=1, n_head=2)).eval()
    bias = torch.zeros(3, 19)
    bias[0, 4] = bias[2, 7] = 50.0
    said = generate(
        llm,
        torch.randn(3, 2, 12),
        eos_token_id=0,
        pad_token_id=0,
        sampling=Sampling(method=method, max_new_tokens=4, min_new_tokens=4),
        logit_bias=bias,
    )
    assert said.tokens[0].tolist() == [4] * 4
    assert said.tokens[2].tolist() == [7] * 4
    with pytest.raises(InputError, match="logit_bias must have 3 rows"):
        generate(llm, torch.randn(3, 2, 12), eos_token_id=0, pad_token_id=0, logit_bias=bias[:2])
