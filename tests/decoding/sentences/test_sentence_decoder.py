"""The decoder of whole sentences, with a tiny language model and a stand-in for the encoder."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers.smol_twin import smol_llm, smol_tokenizer
from helpers.word_counts import WordCounts, brains_of

from fastbrain._digests import write_sealed
from fastbrain.decoding.sentences import (
    LineWriter,
    SentenceWriting,
    fit_sentence_decoder,
    fit_sentence_readout,
)
from fastbrain.errors import CheckpointError, ConfigError, DiskError, InputError

NOUNS = ("man", "woman", "dog", "child", "box", "ball", "wall", "house")
VERBS = ("holds", "throws", "paints", "sees")
TEXTS = [f"The {a} {v} the {b}." for a in NOUNS for v in VERBS for b in NOUNS if a < b][::2]


ENCODER = WordCounts((*NOUNS, *VERBS))


def brains(texts, noise, seed=0):
    return brains_of(texts, noise, seed, encoder=ENCODER)


@pytest.fixture(scope="module")
def decoder():
    tokenizer = smol_tokenizer()
    writing = SentenceWriting(shots=2, prompts=2, samples=3, max_new_tokens=8)
    return fit_sentence_decoder(
        brains(TEXTS, 0.05),
        TEXTS,
        groups=list(range(len(TEXTS))),
        writer=LineWriter(smol_llm(tokenizer), tokenizer),
        encoder=ENCODER,
        samples=64,
        writing=writing,
    )


def test_the_true_text_is_likelier_under_its_own_brain(decoder):
    read = decoder.read(brains(TEXTS[:12], 0.05, seed=1))
    every = np.stack(np.meshgrid(np.arange(12), np.arange(12), indexing="ij"), -1).reshape(-1, 2)
    nll = decoder.score(read, TEXTS[:12], every).reshape(12, 12)
    assert (np.diag(nll)[None] <= nll).mean() > 0.9
    alone = decoder.score(decoder.read_nothing(), TEXTS[:12], every[:12])
    base = decoder.writer.score(decoder.prompt, TEXTS[:12])
    np.testing.assert_allclose(alone, -base.log_p / base.tokens, rtol=1e-12)
    assert np.diag(nll).mean() < alone.mean()


def test_noise_in_the_place_of_images_is_no_evidence():
    noise = np.random.default_rng(3).standard_normal((len(TEXTS), 20))
    readout = fit_sentence_readout(noise, TEXTS, groups=list(range(len(TEXTS))), encoder=ENCODER)
    # binomial over 56 texts that share words: three standard errors
    assert abs(readout.two_way - 0.5) < 0.15


def test_writing_is_reproducible_and_never_a_training_text(decoder):
    read = decoder.read(brains(TEXTS[:2], 0.05, seed=1))
    said = decoder.write(np.concatenate([read, read[:1]]))
    assert said == decoder.write(np.concatenate([read, read[:1]]))
    assert said[0] == said[2]
    assert not set(said) & set(TEXTS)
    assert len(decoder.write(decoder.read_nothing())) == 1


def test_an_interrupted_writing_goes_on(decoder, tmp_path, monkeypatch):
    read = decoder.read(brains(TEXTS[:3], 0.05, seed=1))
    expected = decoder.write(read)
    keeping = replace(decoder, kept=tmp_path / "kept")
    assert keeping.write(read[:2]) == expected[:2]
    asked = []
    monkeypatch.setattr(decoder.writer, "write", lambda *a, **k: asked.append(a))
    assert keeping.write(read[:2]) == expected[:2]
    assert not asked
    monkeypatch.undo()
    assert keeping.write(read) == expected
    other = replace(keeping, writing=replace(decoder.writing, seed=1))
    assert len(list((tmp_path / "kept").iterdir())) == 3
    other.write(read[:1])
    assert len(list((tmp_path / "kept").iterdir())) == 4


def test_an_interrupted_fit_keeps_what_was_written_without_a_brain(decoder, tmp_path, monkeypatch):
    def fit(seed):
        return fit_sentence_decoder(
            brains(TEXTS, 0.05), TEXTS, groups=list(range(len(TEXTS))), writer=decoder.writer,
            encoder=ENCODER, samples=64, seed=seed, kept=tmp_path,
        )  # fmt: skip

    assert fit(0).evidence.texts == decoder.evidence.texts
    other = fit(1).evidence.texts
    monkeypatch.setattr(decoder.writer, "write", lambda *a, **k: pytest.fail("written again"))
    assert fit(0).evidence.texts == decoder.evidence.texts != other
    assert fit(1).evidence.texts == other


def test_a_decoder_is_named_in_a_line(decoder):
    assert repr(decoder).startswith(f"SentenceDecoder({len(TEXTS)} training texts, two-way ")
    assert len(repr(decoder)) < 120


def test_a_damaged_sentence_is_refused(decoder, tmp_path):
    read = decoder.read(brains(TEXTS[:1], 0.05, seed=1))
    keeping = replace(decoder, kept=tmp_path)
    keeping.write(read)
    path = next(tmp_path.iterdir())
    path.write_text(path.read_text().replace("text", "tex_", 1))
    with pytest.raises(CheckpointError, match=path.name):
        keeping.write(read)


def test_a_file_of_another_kind_is_refused(decoder, tmp_path):
    read = decoder.read(brains(TEXTS[:1], 0.05, seed=1))
    keeping = replace(decoder, kept=tmp_path / "kept")
    keeping.write(read)
    write_sealed(next((tmp_path / "kept").iterdir()), {"word": "dog"})
    with pytest.raises(CheckpointError, match="must hold a written sentence"):
        keeping.write(read)
    (tmp_path / "file").write_text("")
    with pytest.raises(DiskError, match="kept must be a folder"):
        replace(decoder, kept=tmp_path / "file").write(read)


def test_a_brain_with_nan_is_not_taken_for_none(decoder):
    images = brains(TEXTS[:3], 0.05)
    images[1, 0] = np.nan
    with pytest.raises(InputError, match="row 1"):
        decoder.read(images)


@pytest.mark.parametrize(("name", "value"), [("shots", 0), ("rounds", -1), ("top_p", 0.0)])
def test_wrong_options_are_refused(name, value):
    with pytest.raises(ConfigError, match=rf"{name}\b.* must be"):
        SentenceWriting(**{name: value})


def test_texts_and_brains_must_match():
    with pytest.raises(InputError, match="same 2 samples"):
        fit_sentence_readout(np.ones((3, 2)), TEXTS[:2], groups=[0, 1], encoder=ENCODER)


@pytest.mark.parametrize(
    ("texts", "pairs"),
    [([], [[0, 0]]), ([""], [[0, 0]]), (TEXTS[:2], [[0, 2]]), (TEXTS[:2], [[3, 0], [-1, 0]])],
)
def test_scores_need_texts_and_pairs_that_exist(decoder, texts, pairs):
    read = decoder.read(brains(TEXTS[:3], 0.05))
    with pytest.raises(InputError, match=r"SentenceDecoder.score: (texts|pairs) must"):
        decoder.score(read, texts, np.array(pairs))


def test_no_pairs_have_no_scores(decoder):
    read = decoder.read(brains(TEXTS[:3], 0.05))
    assert decoder.score(read, TEXTS[:1], np.zeros((0, 2), dtype=np.int64)).shape == (0,)


def test_what_editing_needs_is_missed_before_the_fit(monkeypatch):
    tokenizer = smol_tokenizer()
    writer = LineWriter(smol_llm(tokenizer), tokenizer)
    monkeypatch.setattr(type(tokenizer), "is_fast", False)
    monkeypatch.setattr(
        "fastbrain.decoding.sentences.decoder_fit.fit_sentence_readout",
        lambda *a, **k: pytest.fail("the regression was fitted"),
    )
    with pytest.raises(InputError, match="place of each token"):
        fit_sentence_decoder(
            brains(TEXTS, 0.05),
            TEXTS,
            groups=list(range(len(TEXTS))),
            writer=writer,
            encoder=ENCODER,
            writing=SentenceWriting(rounds=2),
        )
