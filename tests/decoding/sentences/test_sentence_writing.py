"""Training texts in the prompt of a sentence: as many as the context has room for."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers.smol_twin import SIZES, smol_llm, smol_tokenizer

from fastbrain.decoding.sentences import LineWriter, SentenceWriting
from fastbrain.decoding.sentences.writing import write_sentence
from fastbrain.errors import InputError

CONTEXT = SIZES["max_position_embeddings"]
OPTIONS = SentenceWriting(shots=3, prompts=2, samples=2, max_new_tokens=8)
TEXTS = ("A dog holds the box.", "The man throws a ball.", "The woman paints the house.")


@pytest.fixture(scope="module")
def writer():
    tokenizer = smol_tokenizer()
    return LineWriter(smol_llm(tokenizer), tokenizer)


def written(writer, texts, monkeypatch):
    """Prompts of a sentence for which every text is less near than the one before it."""
    vectors = np.linspace(1, 0.9, len(texts))[:, None]
    readout = SimpleNamespace(
        vectors=vectors, texts=tuple(texts), embed=lambda lines: np.ones((len(lines), 1))
    )
    seen = []

    def write(prompts, *args, **options):
        seen.extend(prompts)
        return LineWriter.write(writer, prompts, *args, **options)

    monkeypatch.setattr(writer, "write", write)
    write_sentence(np.ones(1), readout, writer, OPTIONS, torch.Generator().manual_seed(0))
    monkeypatch.undo()
    return seen


def long_text(writer, tokens):
    text = "box"
    while len(writer.prompt([text])) < tokens:
        text += " box"
    return text


def test_the_farthest_texts_are_left_out_until_the_others_fit(writer, monkeypatch):
    assert written(writer, TEXTS, monkeypatch)[0] == writer.prompt(TEXTS[::-1])
    far = long_text(writer, CONTEXT - 60)
    found = written(writer, [*TEXTS[:2], far], monkeypatch)
    assert found[0] == writer.prompt([far, *TEXTS[1::-1]])
    far = long_text(writer, CONTEXT - 20)
    for prompt in written(writer, [*TEXTS[:2], far], monkeypatch):
        assert prompt == writer.prompt(TEXTS[1::-1])


def test_a_nearest_text_that_fills_the_context_is_named(writer, monkeypatch):
    near = long_text(writer, CONTEXT - 4)
    with pytest.raises(InputError, match=f"8 tokens for a line .* {CONTEXT}, got 'box box"):
        written(writer, [near, *TEXTS], monkeypatch)


def test_only_texts_with_room_for_them_are_scored(writer):
    prompt = writer.prompt([long_text(writer, CONTEXT - 12)])
    found = writer.fitting(prompt, ["A dog", long_text(writer, 40)])
    assert found == ["A dog"]
    assert len(writer.score(prompt, found).log_p) == 1
