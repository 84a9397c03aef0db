"""A sentence decoder that an evaluation kept in its run decodes windows and new scans."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest
from smol_twin import smol_folder, smol_llm, smol_tokenizer

import fastbrain as fb
from fastbrain import cli
from fastbrain.data.store.preparation import save_preparation
from fastbrain.decoding import Sampling, SentenceWriting, load_sentence_decoder
from fastbrain.decoding.sentences.saving import fit_digest
from fastbrain.errors import CheckpointError, InputError
from fastbrain.evaluation.decoder_choice import DecoderChoice
from fastbrain.inference import decode

SHORT = SentenceWriting(shots=2, prompts=1, samples=2, max_new_tokens=6, min_new_tokens=2)


# an evaluation of the run and the fit of the decoder
pytestmark = pytest.mark.slow(seconds=40)


@pytest.fixture(scope="module")
def smol(tmp_path_factory):
    return str(smol_folder(tmp_path_factory.mktemp("smol") / "llm"))


@pytest.fixture(scope="module")
def run(finished_run, store, smol, tmp_path_factory):
    """A finished run, evaluated with a sentence decoder."""
    copy = tmp_path_factory.mktemp("whole") / "run"
    shutil.copytree(finished_run, copy)
    save_preparation(store, copy)
    choice = DecoderChoice("retrieve", llm=smol, writing=SHORT, samples=32, components=5)
    fb.evaluate_run(copy, store=store.path, decoder=choice, bert=False)
    return copy


@pytest.fixture(scope="module")
def read(run):
    return fb.pipeline("brain-to-text", model=run / "decoders" / "retrieve", confidence=False)


def texts_of(run):
    import pyarrow.parquet as pq

    rows = pq.read_table(run / "decoders" / "retrieve" / "samples.parquet").to_pylist()
    return {row["trial_id"]: row["decoded"] for row in rows}


def test_the_pipeline_writes_what_was_evaluated(read, run, store):
    found = {row["trial_id"]: row["text"] for row in read(store, part="test")}
    assert found == texts_of(run)
    assert set(found) == set(store.split.test)
    assert repr(read) == f"BrainToText('llm4brain', '{run}')"


def test_the_folder_in_it_and_decode_open_the_same(read, run, store):
    wanted = [row["text"] for row in read(store, part="test")]
    model = run / "decoders" / "retrieve" / "model"
    inner = fb.pipeline("brain-to-text", model=model, confidence=False)
    assert [row["text"] for row in inner(store, part="test")] == wanted
    found = decode(run, store=store.path, decoder="retrieve")
    assert list(found.texts) == wanted
    assert found.facts["decoder"]["fitted_on"].startswith(f"{len(store.split.train)} windows of")
    assert all(window.margin_no_brain is not None for window in found.windows)


def test_new_scans_are_decoded(read, store):
    image = store.path.parent / "sub-02_run-01_bold.nii"
    rows = read(image, events=store.path.parent / "sub-02_run-01_events.tsv")
    decoded = [row for row in rows if not row["held"]]
    assert decoded
    assert all(row["text"] for row in decoded)


def test_the_command_writes_a_table(run, store, tmp_path, capsys):
    out = tmp_path / "said.json"
    line = ["decode", str(run), "--store", str(store.path), "--decoder", "retrieve"]
    assert cli.main([*line, "--no-confidence", "--out", str(out)]) == 0
    said = json.loads(out.read_text())
    assert said["decoder"]["seed"] == said["seed"] == 0
    assert {w["trial_id"]: w["text"] for w in said["windows"]} == texts_of(run)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--llm", "smollm2"], "--llm must come with --decoder"),
        (["--decoder", "edit"], "must hold a decoder 'edit', got none"),
        (["--decoder", "retrieve", "--beams", "3"], "settings of its own to write"),
        (["--decoder", "retrieve", "--engine"], "engine must be left out for a sentence decoder"),
    ],
)
def test_what_does_not_go_together_is_refused(run, store, capsys, options, said):
    assert cli.main(["decode", str(run), "--store", str(store.path), *options]) == 1
    assert said in " ".join(capsys.readouterr().err.split())


def test_a_given_seed_is_that_of_the_sentences(run, store, tmp_path):
    out = tmp_path / "said.json"
    line = ["decode", str(run), "--store", str(store.path), "--decoder", "retrieve"]
    assert cli.main([*line, "--no-confidence", "--out", str(out), "--seed", "5"]) == 0
    found = json.loads(out.read_text())
    assert found["decoder"]["seed"] == found["seed"] == 5
    said = {w["trial_id"]: w["text"] for w in found["windows"]}
    assert said != texts_of(run)
    model = run / "decoders" / "retrieve"
    read = fb.pipeline("brain-to-text", model=model, confidence=False, seed=5)
    assert {row["trial_id"]: row["text"] for row in read(store, part="test")} == said


def test_a_decoder_of_another_fit_than_the_results_is_refused(run, store, smol, tmp_path):
    copy = shutil.copytree(run, tmp_path / "run")
    model = copy / "decoders" / "retrieve" / "model"
    record = json.loads((model.parent / "metrics.json").read_text())
    assert record["decoder"]["fit"] == fit_digest(model)
    loaded = load_sentence_decoder(model, encoder=DecoderChoice("retrieve").sentence_encoder)
    # an evaluation with another seed that was interrupted before its results
    other = replace(loaded, writing=replace(loaded.writing, seed=1))
    other.save(model, llm=smol, replace=True)
    with pytest.raises(CheckpointError, match=r"Evaluate again: fastbrain evaluate .* --decoder"):
        decode(copy, store=store.path, decoder="retrieve")
    with pytest.raises(CheckpointError, match="an evaluation was interrupted"):
        fb.pipeline("brain-to-text", model=model)
    # the same fit, named otherwise, is that of the results
    loaded.save(model, llm=str(shutil.copytree(smol, tmp_path / "moved")), replace=True)
    assert decode(copy, store=store.path, decoder="retrieve", confidence=False).texts


def test_models_and_options_of_another_decoder_are_refused(run, tmp_path):
    tokenizer = smol_tokenizer()
    smol_llm(tokenizer, seed=1).save_pretrained(tmp_path / "other")
    tokenizer.save_pretrained(tmp_path / "other")
    folder = run / "decoders" / "retrieve"
    with pytest.raises(CheckpointError, match="llm must be the model of the fit"):
        fb.pipeline("brain-to-text", model=folder, llm=str(tmp_path / "other"))
    with pytest.raises(InputError, match="sampling must be left out"):
        fb.pipeline("brain-to-text", model=folder, sampling=Sampling())
    with pytest.raises(InputError, match="encoder must come with a sentence decoder"):
        fb.pipeline("brain-to-text", model=run, encoder="somewhere")
    shutil.copytree(folder / "model", tmp_path / "alone")
    with pytest.raises(CheckpointError, match="must be in the folder of its run"):
        fb.pipeline("brain-to-text", model=tmp_path / "alone")


def test_a_decoder_that_names_no_model_takes_that_of_the_run(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "run")
    model = copy / "decoders" / "retrieve" / "model"
    encoder = DecoderChoice("retrieve").sentence_encoder
    loaded = load_sentence_decoder(model, encoder=encoder)
    loaded.save(model, replace=True)
    # the language model of the run has no token for a line break, so it was never that of the fit
    with pytest.raises(InputError, match="token with a line break"):
        fb.pipeline("brain-to-text", model=model)
