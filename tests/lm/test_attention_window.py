"""Padding does not fill the window of attention: rows are read as each alone."""

from __future__ import annotations

import pytest
import torch
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPTNeoConfig,
    GPTNeoForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
)

from fastbrain.decoding import Sampling, generate, score_pairs
from fastbrain.errors import InputError
from fastbrain.lm import SharedPrompt
from fastbrain.lm.attention_window import exceeds_window, padded_left
from fastbrain.lm.likelihood import answer_nll

WINDOW, VOCABULARY = 6, 40
SIZES = {
    "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 2, "vocab_size": VOCABULARY, "initializer_range": 0.3,
}  # fmt: skip
# float32, in two orders of computation
CLOSE = {"rtol": 1e-4, "atol": 1e-4}
GREEDY = Sampling(max_new_tokens=6)


def model(kind):
    torch.manual_seed(0)
    if kind == "mistral":
        found = MistralForCausalLM(MistralConfig(**SIZES, sliding_window=WINDOW))
    elif kind == "gemma3":
        config = Gemma3TextConfig(
            **SIZES, head_dim=8, sliding_window=WINDOW,
            layer_types=["sliding_attention", "full_attention"],
        )  # fmt: skip
        found = Gemma3ForCausalLM(config)
    elif kind == "gpt-neo":
        config = GPTNeoConfig(
            hidden_size=16, num_layers=2, num_heads=2, vocab_size=VOCABULARY, window_size=WINDOW,
            attention_types=[[["global", "local"], 1]], initializer_range=0.3,
        )  # fmt: skip
        found = GPTNeoForCausalLM(config)
    else:
        found = LlamaForCausalLM(LlamaConfig(**SIZES))
    return found.eval().requires_grad_(False)


@pytest.fixture(scope="module", params=["mistral", "gemma3", "gpt-neo", "llama"])
def llm(request):
    return model(request.param)


@pytest.fixture
def gap(llm):
    """A row of 4 + 3 tokens with padding between, one without, and the first one alone."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(3, VOCABULARY, (2, 12), generator=generator)
    mask = torch.ones(2, 12, dtype=torch.long)
    mask[0, 4:9] = 0
    embeds = llm.get_input_embeddings()(ids)
    return embeds, mask, embeds[:1, mask[0].bool()]


def texts():
    ids = torch.randint(3, VOCABULARY, (1, 4), generator=torch.Generator().manual_seed(2))
    return ids, torch.ones_like(ids, dtype=torch.bool)


def test_generation_with_padding_within_equals_each_alone(llm, gap):
    embeds, mask, alone = gap
    for method in ("greedy", "beam"):
        sampling = Sampling(method, max_new_tokens=6, beams=2)
        options = {"eos_token_id": None, "sampling": sampling}
        found = generate(llm, embeds, attention_mask=mask, **options)
        expected = generate(llm, alone, **options)
        assert torch.equal(found.tokens[:1], expected.tokens)
        torch.testing.assert_close(found.log_probability[:1], expected.log_probability, **CLOSE)


def test_scores_with_padding_within_equal_each_alone(llm, gap):
    embeds, mask, alone = gap
    ids, whole = texts()
    pair = torch.tensor([[0, 0]])
    found = score_pairs(llm, embeds, ids, whole, pair, prefix_mask=mask.bool())
    expected = score_pairs(llm, alone, ids, whole, pair)
    torch.testing.assert_close(found, expected, **CLOSE)


def test_the_loss_with_padding_within_equals_that_of_each_alone(llm, gap):
    embeds, mask, alone = gap
    ids, whole = texts()
    both, all_whole = ids.expand(2, -1), whole.expand(2, -1)
    expected = answer_nll(llm, alone, None, ids, whole)
    found = answer_nll(llm, embeds, mask.bool(), both, all_whole)
    torch.testing.assert_close(found[:1], expected, **CLOSE)
    found = answer_nll(llm, embeds, mask.bool(), ids, whole, rows=torch.tensor([0]))
    torch.testing.assert_close(found, expected, **CLOSE)


@pytest.mark.parametrize("kind", ["mistral", "gemma3", "gpt-neo"])
def test_padding_after_a_shared_prompt_is_refused(kind):
    llm = model(kind)
    after = SharedPrompt(llm, torch.tensor([3, 4, 5]))
    ids, whole = texts()
    embeds = llm.get_input_embeddings()(torch.tensor([[0, 7], [8, 9]]))
    mask = torch.tensor([[0, 1], [1, 1]])
    pair = torch.tensor([[0, 0]])
    calls = (
        lambda: generate(
            llm, embeds, eos_token_id=None, sampling=GREEDY, attention_mask=mask, after=after
        ),
        lambda: score_pairs(llm, embeds, ids, whole, pair, prefix_mask=mask.bool(), after=after),
        lambda: answer_nll(
            llm, embeds, mask.bool(), ids.expand(2, -1), whole.expand(2, -1), after=after
        ),
    )
    for call in calls:
        with pytest.raises(InputError, match=r"after must not precede padding.*equal length"):
            call()
    # within the window nothing is lost
    short = Sampling(max_new_tokens=1)
    generate(llm, embeds, eos_token_id=None, sampling=short, attention_mask=mask, after=after)


def test_only_settings_that_are_in_use_make_a_window():
    llm = model("llama")
    assert not exceeds_window(llm, 10**6)
    embeds, mask = torch.zeros(1, 3, 16), torch.tensor([[1, 0, 1]])
    assert padded_left(llm, embeds, mask)[0] is embeds
    llm.config = Qwen2Config(sliding_window=WINDOW, use_sliding_window=False)
    assert not exceeds_window(llm, WINDOW + 1)
    llm.config = MistralConfig(sliding_window=WINDOW)
    assert exceeds_window(llm, WINDOW + 1)
    assert not exceeds_window(llm, WINDOW)
