"""BrainLLM under the controls: scores are those of each sequence by itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fastbrain.brainllm import BrainLLM, BrainLLMConfig, BrainLLMDecoder
from fastbrain.errors import InputError
from fastbrain.evaluation import run_controls
from fastbrain.lm import encode_context, encode_continuations
from fastbrain.stats import derangements

K = 5
TEXTS = ["it is a ball", "it is the book now", "it is a cake", "it is a tree", "it is a lamp"]
PROMPTS = ["what is there ?", "what is there", "what", "there is what ?", "is it ?"]


@pytest.fixture
def make(language):
    def build(**options):
        torch.manual_seed(3)
        config = BrainLLMConfig(features=K, frames=2, dropout=0.0, **options)
        model = BrainLLM(config, llm=language[0], text_tokenizer=language[1]).eval()
        for parameter in model.parameters():
            if parameter.requires_grad:
                torch.nn.init.normal_(parameter, std=0.7)
        return model

    return build


def brains(n=5, seed=0):
    return np.random.default_rng(seed).standard_normal((n, 2, K))


@pytest.mark.parametrize("prompts", [(), PROMPTS])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"steering": True, "position": "after-prompt"},
        {"steering": True, "decoder": "none"},
    ],
)
def test_scores_are_those_of_the_sequences(make, prompts, options):
    model = make(**options)
    decoder = BrainLLMDecoder(model, prompts=prompts)
    windows = brains()
    pairs = np.array([[0, 0], [4, 1], [2, 2], [2, 4], [3, 1], [0, 3]])
    found = decoder.score(decoder.read(windows), TEXTS, pairs)
    for value, (i, j) in zip(found, pairs, strict=True):
        prompt, _ = encode_context(
            model.text_tokenizer, [prompts[j] if prompts else ""], max_tokens=64
        )
        ids, mask = encode_continuations(model.text_tokenizer, [TEXTS[j]], max_tokens=64)
        with torch.no_grad():
            nll = model.text_nll(torch.from_numpy(windows[i : i + 1]).float(), prompt, ids, mask)
        assert value == pytest.approx(float(nll.mean()), abs=2e-5)


@pytest.mark.parametrize("prompts", [(), PROMPTS])
@pytest.mark.parametrize("options", [{"steering": True}, {"steering": True, "decoder": "none"}])
def test_all_controls_run(make, prompts, options):
    decoder = BrainLLMDecoder(make(**options), prompts=prompts)
    partners = derangements(list("aabbc"), count=7)
    found = run_controls(
        decoder,
        {"true brain": brains(), "noise brain": brains(seed=1), "zero brain": 0 * brains()},
        TEXTS,
        partners,
        blocks=list("aabbc"),
        prompts=prompts,
        train_texts=TEXTS[:2],
        train_brains=brains(2, seed=2),
    )
    names = {control.name for control in found}
    assert {"deranged brain", "prompt alone", "untuned model", "nearest training text"} <= names
    assert np.isfinite(found["true brain"].nll).all()
    assert found["deranged brain"].nll.shape == (7, 5)
    tuned = options.get("decoder") != "none"
    assert (found["prompt alone"].nll != found["untuned model"].nll).any() == tuned


def test_a_brain_that_says_nothing_ties_with_none(make):
    model = make(steering=True, decoder="none")
    torch.nn.init.zeros_(model.steer.weight)
    decoder = BrainLLMDecoder(model)
    own = np.stack([np.arange(5)] * 2, axis=1)
    nothing = decoder.score(decoder.read_nothing(), TEXTS, own * [0, 1])
    np.testing.assert_array_equal(decoder.score(decoder.read(brains()), TEXTS, own), nothing)


@pytest.mark.parametrize("first", [PROMPTS[0], ""], ids=["prompt", "no prompt"])
def test_written_text_does_not_depend_on_its_neighbours(make, first):
    prompts = (first, *PROMPTS[1:])
    decoder = BrainLLMDecoder(make(steering=True), prompts=prompts)
    together = decoder.write(decoder.read(brains()))
    for i in range(len(TEXTS)):
        alone = BrainLLMDecoder(decoder.model, prompts=prompts[i : i + 1])
        assert alone.write(alone.read(brains()[i : i + 1])) == [together[i]]


def test_refusals(make):
    decoder = BrainLLMDecoder(make(), prompts=PROMPTS)
    with pytest.raises(InputError, match="one a prompt, 5, got 1"):
        decoder.write(decoder.read(brains(1)))
    with pytest.raises(InputError, match="one a prompt, 5, got 2"):
        decoder.score(decoder.read(brains()), TEXTS[:2], np.zeros((1, 2), dtype=np.int64))
    with pytest.raises(InputError, match="brains must be"):
        decoder.read(np.zeros((0, 2, K)))
