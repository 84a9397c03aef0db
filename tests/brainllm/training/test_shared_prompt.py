"""What is shared is computed once, and nothing changes by it."""

from __future__ import annotations

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from fastbrain.brainllm import BrainLLM, BrainLLMConfig, BrainLLMDecoder
from fastbrain.brainllm.training import BrainTexts, PromptTuning
from fastbrain.brainllm.training.presets import BrainLLMTraining
from fastbrain.decoding import Sampling, generate, score_pairs
from fastbrain.errors import InputError
from fastbrain.lm import SharedPrompt
from fastbrain.lm.likelihood import answer_nll, recompute_layers

K = 6
# float64 up to the logits, which are float32: a rounding of 6e-8 in each of some hundred terms, in
# an order that the library chooses by batch size and processor. Seen: 1.2e-6 with AVX2.
EXACT = {"rtol": 1e-5, "atol": 1e-5}


@pytest.fixture
def make(language):
    def build(llm=None, **options):
        torch.manual_seed(0)
        config = BrainLLMConfig(features=K, frames=2, dropout=0.0, **options)
        model = BrainLLM(config, llm=llm or language[0], text_tokenizer=language[1])
        torch.nn.init.normal_(model.marks)
        return model.double().eval()

    yield build
    language[0].float()


def positions(llm):
    """Positions that the language model computes from now on."""
    seen = []

    def count(_, args, given):
        ids, embeds = given.get("input_ids"), given.get("inputs_embeds")
        ids = args[0] if args else ids
        seen.append(ids.numel() if embeds is None else embeds[..., 0].numel())

    handle = llm.base_model.register_forward_pre_hook(count, with_kwargs=True)
    return seen, handle


def texts(n=4, width=5):
    ids = torch.randint(4, 12, (n, width))
    return ids, torch.arange(width) < torch.tensor([5, 2, 1, 4])[:n, None]


@pytest.mark.parametrize("steering", [False, True])
def test_one_prompt_is_read_once(make, steering):
    model = make(position="after-prompt", steering=steering)
    windows, (ids, mask) = torch.randn(4, 2, K).double(), texts()
    prompt = torch.randint(4, 12, (1, 9)).expand(4, -1)
    seen, handle = positions(model.llm)
    found = model.text_nll(windows, prompt, ids, mask)
    shared, whole = sum(seen), 4 * (1 + 9 + 4 + ids.shape[1] - 1)
    before, _ = model.before_text(model.prefix(windows), prompt)
    bias = model.logit_bias(windows)
    seen.clear()
    expected = answer_nll(model.llm, before, None, ids, mask, logit_bias=bias)
    handle.remove()
    assert sum(seen) == whole
    assert shared == whole - 3 * 10
    torch.testing.assert_close(found, expected, **EXACT)
    ours, theirs = (
        torch.autograd.grad(v.sum(), [*list(model.decoder.parameters()), model.marks])
        for v in (found, expected)
    )
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, **EXACT)


@pytest.mark.parametrize("position", ["before-prompt", "after-prompt"])
@pytest.mark.parametrize("padded", [False, True])
def test_texts_of_one_brain_share_what_stands_before(make, position, padded):
    model = make(position=position, steering=True)
    windows, (ids, mask) = torch.randn(2, 2, K).double(), texts()
    prompt = torch.randint(4, 12, (2, 9))
    prompt_mask = torch.ones(2, 9, dtype=torch.bool)
    prompt_mask[1, :4] = not padded
    rows = torch.tensor([1, 0, 1, 1])
    seen, handle = positions(model.llm)
    found = model.text_nll(windows, prompt, ids, mask, prompt_mask=prompt_mask, rows=rows)
    shared = sum(seen)
    seen.clear()
    expected = model.text_nll(windows[rows], prompt[rows], ids, mask, prompt_mask=prompt_mask[rows])
    handle.remove()
    assert sum(seen) - shared == 2 * (1 + 9 + 4)  # two brains of four with their prompts
    torch.testing.assert_close(found, expected, **EXACT)
    ours, theirs = (
        torch.autograd.grad(v.sum(), [*list(model.decoder.parameters()), model.marks])
        for v in (found, expected)
    )
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, **EXACT)


def test_training_finds_what_can_be_shared(make):
    model = make()
    windows = torch.randn(2, 2, K)
    said = ("It is a ball.", "It is a box.", "It is a wall.", "It is a tree.")
    batch = BrainTexts(tuple("abcd"), windows[[0, 1, 0, 0]], said, ("What is it?",) * 4)
    objective = PromptTuning(model, BrainLLMTraining(max_prompt_tokens=8, max_text_tokens=8))
    seen, handle = positions(model.llm)
    total, tokens = objective.total(batch)
    shared = sum(seen)
    seen.clear()
    parts = [objective.total(batch.take([i])) for i in range(4)]
    handle.remove()
    assert shared < sum(seen)
    assert tokens == sum(n for _, n in parts)
    torch.testing.assert_close(total, sum(v for v, _ in parts), rtol=0, atol=1e-5)


@pytest.mark.parametrize("method", ["greedy", "beam"])
def test_generation_behind_a_shared_prompt(make, method):
    model = make(position="after-prompt")
    prefix, prompt = model.prefix(torch.randn(3, 2, K).double()), torch.randint(4, 12, (9,))
    whole, _ = model.before_text(prefix, prompt)
    options = {"eos_token_id": 2, "pad_token_id": 0}
    options["sampling"] = Sampling(method, max_new_tokens=6, min_new_tokens=6, beams=3)
    expected = generate(model.llm, whole, **options)
    found = generate(model.llm, prefix, after=model.shared_prompt(prompt), **options)
    assert torch.equal(found.tokens, expected.tokens)
    torch.testing.assert_close(found.log_probability, expected.log_probability, rtol=0, atol=1e-5)


@pytest.mark.parametrize("padded", [False, True])
def test_scoring_behind_a_shared_prompt(make, padded):
    model = make(position="after-prompt")
    prefix, prompt = model.prefix(torch.randn(3, 2, K).double()), torch.randint(4, 12, (9,))
    whole, _ = model.before_text(prefix, prompt)
    ids, mask = texts()
    pairs = torch.cartesian_prod(torch.arange(3), torch.arange(4))
    cut = torch.ones(3, prefix.shape[1], dtype=torch.bool)
    cut[1, 0] = not padded
    long = torch.cat([cut.new_ones(3, 10), cut], dim=1)
    expected = score_pairs(model.llm, whole, ids, mask, pairs, prefix_mask=long, rows_at_once=2)
    found = score_pairs(
        model.llm, prefix, ids, mask, pairs, prefix_mask=cut, rows_at_once=2,
        after=model.shared_prompt(prompt),
    )  # fmt: skip
    torch.testing.assert_close(found, expected, **EXACT)


def test_the_decoder_of_the_controls_shares_one_prompt(make):
    model = make(position="after-prompt")
    said, brains = ["It is a ball.", "It is a box."], torch.randn(2, 2, K)
    pairs = torch.cartesian_prod(torch.arange(2), torch.arange(2)).numpy()
    found = []
    for prompts in (("What is it?",) * 2, ("What is it?", "What is it? ")):  # the same words
        decoder = BrainLLMDecoder(
            model, prompts=prompts, sampling=Sampling(max_new_tokens=4), max_text_tokens=8
        )
        rows = decoder.read(brains)
        rows = type(rows)(rows.prefix.double(), rows.bias, rows.vectors)
        found.append((decoder.write(rows), decoder.score(rows, said, pairs)))
    assert found[0][0] == found[1][0]
    assert found[0][1] == pytest.approx(found[1][1], abs=1e-5)


def test_models_with_positions_of_their_own(make):
    torch.manual_seed(1)
    llm = GPT2LMHeadModel(GPT2Config(vocab_size=60, n_embd=12, n_layer=2, n_head=2)).double()
    model = make(llm=llm.eval(), position="after-prompt")
    windows, (ids, mask) = torch.randn(4, 2, K).double(), texts()
    prompt = torch.randint(4, 12, (1, 9)).expand(4, -1)
    before, _ = model.before_text(model.prefix(windows), prompt)
    torch.testing.assert_close(
        model.text_nll(windows, prompt, ids, mask),
        answer_nll(model.llm, before, None, ids, mask),
        **EXACT,
    )


def test_generation_longer_than_the_context_is_refused(make):
    model = make()
    room = model.context
    decoder = BrainLLMDecoder(model.float(), sampling=Sampling(max_new_tokens=room))
    with pytest.raises(InputError, match="must fit the context"):
        decoder.write(decoder.read(torch.randn(1, 2, K)))


def test_refusals(make):
    with pytest.raises(InputError, match="'after-prompt' to share"):
        make().shared_prompt(torch.tensor([5]))
    with pytest.raises(InputError, match=r"ids must be \(P >= 1,\)"):
        SharedPrompt(make().llm, torch.zeros(0, dtype=torch.long))


def test_layers_that_compute_again_share_nothing(make):
    model = make(position="after-prompt")
    windows, (ids, mask) = torch.randn(2, 2, K).double(), texts()
    prompt, rows = torch.randint(4, 12, (1, 9)).expand(2, -1), torch.tensor([1, 0, 1, 1])
    seen, handle = positions(model.llm)
    expected = model.text_nll(windows, prompt, ids, mask, rows=rows)
    shared = sum(seen)
    seen.clear()
    recompute_layers(model.llm, True)
    try:
        found = model.text_nll(windows, prompt, ids, mask, rows=rows)
    finally:
        handle.remove()
        model.llm.gradient_checkpointing_disable()
        model.llm.eval()
    assert shared < sum(seen) == 4 * (1 + 9 + 4 + ids.shape[1] - 1)
    torch.testing.assert_close(found, expected, **EXACT)
