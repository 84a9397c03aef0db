"""Replacing words of a line by the gradient of a tiny encoder."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.smol_twin import smol_llm, smol_tokenizer
from helpers.wordpieces import wordpiece
from transformers import BertConfig, BertModel

from fastbrain.decoding.sentences import LineWriter, SentenceWriting, editing, fit_sentence_readout
from fastbrain.decoding.sentences.editing import edit_lines, shared_words
from fastbrain.decoding.sentences.lines import Lines
from fastbrain.decoding.sentences.writing import write_sentence
from fastbrain.errors import ConfigError, InputError
from fastbrain.lm.sentence_embeddings import SentenceEncoder

NOUNS = tuple(
    "apple bridge candle doctor engine forest garden hammer island jacket kitchen lemon market "
    "nurse ocean pepper queen river school tailor uncle valley window yard zebra cousin mirror "
    "pilot ladder basket farmer singer castle turtle pencil bottle".split()
)
TEXTS = [f"The {a} and the {b}." for a, b in zip(NOUNS, NOUNS[7:] + NOUNS[:7], strict=True)]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("encoder")
    tokenizer = wordpiece(["the", "The", "and", ".", *NOUNS])
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=48, initializer_range=0.2,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    return SentenceEncoder(str(folder))


@pytest.fixture(scope="module")
def writer():
    tokenizer = smol_tokenizer(corpus=[t for t in TEXTS for _ in range(3)], size=600)
    return LineWriter(smol_llm(tokenizer), tokenizer)


@pytest.fixture(scope="module")
def readout(encoder):
    held = encoder.layers(TEXTS).reshape(len(TEXTS), -1)
    noise = 0.01 * np.random.default_rng(0).standard_normal(held.shape)
    return fit_sentence_readout(held + noise, TEXTS, groups=range(len(TEXTS)), encoder=encoder)


def test_the_gradient_is_that_of_the_cosine(readout, encoder):
    aim = readout.vectors[5]
    found = readout.gradient(TEXTS[0], aim)
    words = [TEXTS[0][first:last] for first, last in found.spans]
    place = words.index("apple")
    table = encoder.vectors
    token = encoder.single_tokens(["apple"])[0]
    kept = table[token].clone()
    step = 1e-2 * torch.from_numpy(found.gradient[place]) / np.linalg.norm(found.gradient[place])
    values = []
    try:
        for sign in (1, -1):
            table[token] = kept + sign * step
            values.append(float((readout.embed(TEXTS[:1]) @ aim)[0]))
    finally:
        table[token] = kept
    slope = (values[0] - values[1]) / 2e-2
    # central difference of a float32 network: error of the third order and of rounding, 1e-3
    assert slope == pytest.approx(np.linalg.norm(found.gradient[place]), rel=1e-2)
    np.testing.assert_allclose(found.held[place], kept.numpy() @ found.gradient[place], rtol=1e-5)


def test_shared_words_are_one_token_of_both(writer, encoder):
    shared = shared_words(writer, encoder, TEXTS)
    assert {"the", "and"} <= shared.fixed
    assert set(shared.words) <= set(NOUNS)
    assert len(shared.words) > len(NOUNS) / 2
    pieces = writer.tokenizer.convert_ids_to_tokens(shared.of_llm.tolist())
    assert [piece[1:] for piece in pieces] == list(shared.words)
    assert encoder.single_tokens(shared.words) == shared.of_encoder.tolist()


def test_editing_finds_the_words_of_the_aim(readout, writer, encoder):
    shared = shared_words(writer, encoder, TEXTS)
    first, second = shared.words[3], shared.words[9]
    aim = readout.embed([f"The {first} and the {second}."])[0]
    begun = f"The {shared.words[0]} and the {shared.words[1]}."
    prompt = writer.prompt(TEXTS[:2])
    options = SentenceWriting(rounds=8, kept=3, fluency=0.0)
    lines = Lines(options.fluency, without=TEXTS)
    lines.add(writer.score(prompt, [begun]), readout.embed([begun]) @ aim)
    edit_lines(lines, aim, readout, writer, prompt, shared, options)
    found = readout.embed([begun, lines.best(1)[0]]) @ aim
    assert found[1] > found[0]
    assert found[1] > 0.8
    for text in lines.best():
        words = text.split()
        assert (words[0], words[2], words[3]) == ("The", "and", "the")


def test_what_is_written_is_edited_reproducibly(readout, writer, encoder):
    shared = shared_words(writer, encoder, TEXTS)
    options = SentenceWriting(shots=2, prompts=2, samples=6, max_new_tokens=10, rounds=2, kept=2)

    def write(rounds):
        return write_sentence(
            readout.vectors[4],
            readout,
            writer,
            SentenceWriting(**{**vars(options), "rounds": rounds}),
            torch.Generator().manual_seed(0),
            shared=shared,
        )

    assert write(2).texts == write(2).texts
    assert not set(write(2).texts) & set(TEXTS)
    assert len(write(2).texts) > 4


def test_no_round_begins_after_the_time(readout, writer, encoder, monkeypatch):
    shared = shared_words(writer, encoder, TEXTS)
    prompt = writer.prompt(TEXTS[:2])

    def rounds(**options):
        ticks = iter(range(0, 1000, 10))
        monkeypatch.setattr(editing, "monotonic", lambda: float(next(ticks)))
        lines, begun = Lines(0.0, without=TEXTS), []
        lines.add(writer.score(prompt, ["The box."]), np.array([0.5]))
        best = lines.best
        lines.best = lambda count: begun.append(count) or best(count)
        options = SentenceWriting(kept=1, **options)
        edit_lines(lines, readout.vectors[0], readout, writer, prompt, shared, options)
        return len(begun)

    # a round takes ten seconds
    assert rounds(rounds=3) == 3
    assert rounds(rounds=9, seconds=25.0) == 2
    with pytest.raises(ConfigError, match="seconds must be > 0"):
        SentenceWriting(seconds=0.0)


def test_a_vocabulary_without_initial_spaces_is_refused(encoder, writer, monkeypatch):
    monkeypatch.setattr(writer.tokenizer, "get_vocab", lambda: {"apple": 0}, raising=False)
    with pytest.raises(InputError, match="begin with a space"):
        shared_words(writer, encoder, TEXTS)


def test_gradients_are_there_inside_inference_mode(readout):
    expected = readout.gradient(TEXTS[0], readout.vectors[5])
    with torch.inference_mode():
        found = readout.gradient(TEXTS[0], readout.vectors[5])
    np.testing.assert_array_equal(found.gradient, expected.gradient)


@pytest.mark.parametrize("texts", [[], "one text", [3], ["half \ud83d of it"]])
def test_only_unicode_texts_are_embedded(encoder, texts):
    with pytest.raises(InputError, match="sentence_embeddings: texts must"):
        encoder.layers(texts)


def test_a_text_without_a_token_is_refused(encoder, monkeypatch):
    tokenizer = encoder._tokenizer
    bare = lambda texts, **options: tokenizer(texts, add_special_tokens=False, **options)  # noqa: E731
    monkeypatch.setattr(encoder, "_tokenizer", bare)
    with pytest.raises(InputError, match="must have a token, got ''"):
        encoder.layers(["the apple", ""])
