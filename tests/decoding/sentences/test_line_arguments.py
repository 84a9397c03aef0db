"""What a writer of lines refuses, before the language model reads."""

from __future__ import annotations

import pytest
import torch
from helpers.smol_twin import smol_llm, smol_tokenizer
from transformers import MambaConfig, MambaForCausalLM

from fastbrain.decoding import Sampling
from fastbrain.decoding.sentences import LineWriter
from fastbrain.errors import InputError

SHORT = Sampling(max_new_tokens=2)


@pytest.fixture(scope="module")
def writer():
    tokenizer = smol_tokenizer()
    return LineWriter(smol_llm(tokenizer), tokenizer)


def write(writer, **changed):
    options = {
        "prompts": [writer.prompt(["A dog."])], "count": 2, "sampling": SHORT,
        "generator": torch.Generator(), **changed,
    }  # fmt: skip
    return writer.write(options.pop("prompts"), options.pop("count"), **options)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"prompts": []}, "prompts must be one or more.*got none"),
        ({"prompts": [()]}, "prompts must be one or more.*got an empty one"),
        ({"prompts": [(1, 9999)]}, r"prompts must be tokens in \[0, 330\), got 9999"),
        ({"prompts": [(1, -1)]}, r"prompts must be tokens in \[0, 330\), got -1"),
        ({"prompts": [(1, 2.5)]}, "prompts must be a sequence"),
        ({"prompts": "A dog."}, "prompts must be a sequence"),
        ({"count": 0}, "count must be 1 or more"),
        ({"count": -1}, "count must be 1 or more"),
        ({"count": 1.5}, "count must be an integer"),
        ({"starts": ["A", "The"]}, "starts must be one for each of 1 prompts, got 2"),
        ({"sampling": None}, "sampling must be a Sampling"),
        ({"sampling": Sampling("beam")}, "sampling.method must be 'greedy' or 'sample'"),
        ({"sampling": Sampling(repetition_penalty=1.2)}, "sampling.repetition_penalty must be 1"),
        ({"generator": 0}, "generator must be a Generator"),
    ],
)
def test_what_lines_cannot_be_written_with_is_refused(writer, changed, message):
    with pytest.raises(InputError, match=f"LineWriter.write: {message}"):
        write(writer, **changed)


@pytest.mark.parametrize(
    ("prompt", "texts", "at_once", "message"),
    [
        ((), ["a"], 16, "prompts must be one or more"),
        ((9999,), ["a"], 16, "prompts must be tokens"),
        ((1, 2), ["a"], 0, "at_once must be 1 or more"),
        ((1, 2), "a", 16, "texts must be a sequence"),
        ((1, 2), [None], 16, "texts must be a sequence"),
    ],
)
def test_what_cannot_be_scored_is_refused(writer, prompt, texts, at_once, message):
    with pytest.raises(InputError, match=f"LineWriter.score: {message}"):
        writer.score(prompt, texts, at_once=at_once)


@pytest.mark.parametrize(
    ("prompt", "text", "message"),
    [
        ((), "A", "prompts must be one or more"),
        ((1, 2), "", "text must have a token"),
        ((1, 2), "dog " * 512, "prompt and text must be at most 512 tokens"),
    ],
)
def test_words_that_cannot_be_expected_are_refused(writer, prompt, text, message):
    with pytest.raises(InputError, match=f"LineWriter.next_words: {message}"):
        writer.next_words(prompt, text)


def test_a_model_without_keys_and_values_is_refused():
    tokenizer = smol_tokenizer()
    config = MambaConfig(
        hidden_size=8, num_hidden_layers=1, state_size=2, vocab_size=len(tokenizer)
    )
    with pytest.raises(InputError, match="LineWriter: llm must keep keys and values"):
        LineWriter(MambaForCausalLM(config), tokenizer)


def test_predictions_that_are_not_finite_are_refused():
    tokenizer = smol_tokenizer()
    llm = smol_llm(tokenizer)
    with torch.no_grad():
        llm.model.norm.weight[0] = float("nan")
    broken = LineWriter(llm, tokenizer)
    calls = (
        lambda: write(broken),
        lambda: broken.score((1, 2), ["A dog"]),
        lambda: broken.next_words((1, 2), "A dog"),
    )
    for call in calls:
        with pytest.raises(InputError, match="must predict finite logits"):
            call()
