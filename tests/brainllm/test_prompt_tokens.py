"""Prompts given as tokens reach the language model unaltered, and a common one is read once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from smol_twin import smol_llm, smol_tokenizer

from fastbrain.brainllm import BrainLLM, BrainLLMConfig, BrainLLMDecoder
from fastbrain.brainllm.training import BrainTexts, PromptTuning, fit_steering
from fastbrain.brainllm.training.presets import BrainLLMTraining
from fastbrain.decoding import Sampling
from fastbrain.errors import InputError
from fastbrain.evaluation import run_controls
from fastbrain.stats import derangements

K = 3
TEXTS = ["The man throws a ball.", "A dog holds the box.", "The woman paints.", "A child looks."]
SHOTS = "A child paints.\nThe  dog looks.\n"
TRAINING = BrainLLMTraining(max_prompt_tokens=4, steering_penalties=(1.0,), end=False)


@pytest.fixture(scope="module")
def tokenizer():
    return smol_tokenizer()


@pytest.fixture
def make(tokenizer):
    llm = smol_llm(tokenizer)

    def build(**options):
        torch.manual_seed(2)
        config = BrainLLMConfig(K, frames=1, dropout=0.0, **options)
        model = BrainLLM(config, llm=llm, text_tokenizer=tokenizer).eval()
        for parameter in model.parameters():
            if parameter.requires_grad:
                torch.nn.init.normal_(parameter, std=0.3)
        return model

    return build


def windows(n=4):
    return torch.randn(n, 1, K, generator=torch.Generator().manual_seed(1))


def data(prompts, n=4):
    return BrainTexts(tuple(map(str, range(n))), windows(n), tuple(TEXTS[:n]), prompts)


def read_by(llm):
    """Number of positions of each forward pass from now on."""
    seen = []

    def count(_, args, given):
        ids, embeds = given.get("input_ids"), given.get("inputs_embeds")
        seen.append(ids.shape[1] if embeds is None else embeds.shape[1])

    return seen, llm.base_model.register_forward_pre_hook(count, with_kwargs=True)


def test_tokens_are_kept_one_for_each_text_or_one_for_all(tokenizer):
    ids = tuple(tokenizer.encode(SHOTS))
    assert data((ids,)).prompts == (ids,) * 4
    assert data([list(ids[:n]) for n in (1, 2, 3, 4)]).prompts == tuple(
        ids[:n] for n in range(1, 5)
    )
    assert data((ids,)).take([2, 0]).prompts == (ids,) * 2
    for prompts in ((ids, ids), ("one",)):
        with pytest.raises(InputError, match="as many texts and prompts as trial_ids"):
            data(prompts)
    with pytest.raises(InputError, match="prompts"):
        data(((1.5,),) * 4)


@pytest.mark.parametrize("position", ["before-prompt", "after-prompt"])
@pytest.mark.parametrize("layout", ["document", "chat"])
def test_training_reads_the_tokens(make, tokenizer, position, layout):
    model = make(position=position, layout=layout)
    ids = tuple(tokenizer.encode(SHOTS))
    assert len(ids) > TRAINING.max_prompt_tokens  # which cuts texts, not tokens
    objective = PromptTuning(model, TRAINING)
    total, count = objective.total(data((ids,)))
    embed, expected, tokens = model.llm.get_input_embeddings(), 0.0, 0
    for window, text in zip(windows(), TEXTS, strict=True):
        own = torch.tensor(tokenizer.encode(text))
        prompt, brain = embed(torch.tensor(ids)), model.prefix(window[None])[0]
        middle = [brain, prompt] if position == "before-prompt" else [prompt, brain]
        start, turn = (torch.tensor(t).long() for t in (model.layout.start, model.layout.turn))
        sequence = torch.cat([embed(start), *middle, embed(turn), embed(own)])
        logits = model.llm(inputs_embeds=sequence[None]).logits[0, -len(own) - 1 : -1]
        expected += torch.nn.functional.cross_entropy(logits, own, reduction="sum")
        tokens += len(own)
    assert count == tokens
    torch.testing.assert_close(total, expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("decoder", ["none", "linear"])
@pytest.mark.parametrize("position", ["before-prompt", "after-prompt"])
@pytest.mark.parametrize("layout", ["document", "chat"])
def test_a_common_prompt_is_that_of_every_row(make, tokenizer, decoder, position, layout):
    model = make(decoder=decoder, steering=True, position=position, layout=layout)
    ids = tuple(tokenizer.encode(SHOTS))
    options = {"end": False, "sampling": Sampling(max_new_tokens=5, min_new_tokens=5)}
    common = BrainLLMDecoder(model, prompts=(ids,), **options)
    each = BrainLLMDecoder(model, prompts=(ids,) * 4, **options)
    pairs = np.array([[0, 0], [3, 1], [2, 3]])
    seen, handle = read_by(model.llm)
    found, again = (d.score(d.read(windows()), TEXTS, pairs) for d in (common, each))
    np.testing.assert_allclose(found, again, atol=3e-5)
    seen.clear()
    said = common.write(common.read(windows()))
    handle.remove()
    assert said == each.write(each.read(windows()))
    if decoder == "none" or position == "after-prompt":
        around = len(model.layout.start) + len(ids)
        assert sum(length >= around - 1 for length in seen) == 1


def test_controls_with_a_common_prompt(make, tokenizer):
    decoder = BrainLLMDecoder(
        make(decoder="none", steering=True), prompts=(tuple(tokenizer.encode(SHOTS)),), end=False,
        sampling=Sampling(max_new_tokens=3),
    )  # fmt: skip
    partners = derangements(list("aabb"), count=4)
    found = run_controls(decoder, {"true brain": windows()}, TEXTS, partners, blocks=list("aabb"))
    assert np.isfinite(found["true brain"].nll).all()
    assert len(set(found["prompt alone"].texts)) == 1
    each = BrainLLMDecoder(
        decoder.model, prompts=[tokenizer.encode(t) for t in TEXTS], end=False,
        sampling=Sampling(max_new_tokens=3),
    )  # fmt: skip
    found = run_controls(
        each, {"true brain": windows()}, TEXTS, partners, blocks=list("aabb"), prompts=each.prompts
    )
    assert np.isfinite(found["deranged brain"].nll).all()


def test_steering_is_fitted_after_the_tokens(make, tokenizer):
    model, ids = make(decoder="none", steering=True), tuple(tokenizer.encode(SHOTS))
    fit = fit_steering(model, data((ids,)), data((ids,), 2), TRAINING)
    torch.nn.init.zeros_(model.steer.weight)
    decoder = BrainLLMDecoder(model, prompts=(ids,), end=False)
    own = np.stack([np.arange(2)] * 2, axis=1)
    nll = decoder.score(decoder.read(windows(2)), TEXTS[:2], own)
    lengths = [len(row) for row in decoder.text_ids(TEXTS[:2])]
    assert fit.nll[float("inf")] == pytest.approx(np.average(nll, weights=lengths), abs=1e-4)


def test_a_prompt_that_does_not_fit_is_refused(make, tokenizer):
    model = make(decoder="none", steering=True)
    too_long = (5,) * (model.llm.config.max_position_embeddings + 1)
    decoder = BrainLLMDecoder(model, prompts=(too_long,))
    rows = decoder.read(windows())
    with pytest.raises(InputError, match="must fit the context"):
        decoder.write(rows)
