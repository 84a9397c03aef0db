"""A run of LLM4Brain evaluated with other decoders, under all controls."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from small_run import finished_run  # noqa: F401
from smol_twin import smol_folder

from fastbrain.decoding import SentenceWriting
from fastbrain.evaluation import noise_store
from fastbrain.evaluation.decoder_choice import DecoderChoice
from fastbrain.llm4brain import control_model, evaluate_model, evaluate_run
from fastbrain.llm4brain.run_decoder import open_decoder

SHORT = SentenceWriting(shots=2, prompts=1, samples=2, max_new_tokens=6, min_new_tokens=2)
CONTROLS = (
    "true brain", "deranged brain", "phase-randomised brain", "noise brain", "zero brain",
    "prompt alone", "untuned model", "majority text", "template text", "nearest training text",
)  # fmt: skip


@pytest.fixture(scope="module")
def smol(tmp_path_factory):
    return str(smol_folder(tmp_path_factory.mktemp("smol")))


@pytest.fixture
def run(finished_run, tmp_path):  # noqa: F811
    return shutil.copytree(finished_run, tmp_path / "run")


def test_sentences_are_scored_under_all_controls(run, store, smol):
    choice = DecoderChoice("retrieve", llm=smol, writing=SHORT, samples=32, components=5)
    found = evaluate_run(run, store=store.path, decoder=choice, bert=False)
    assert set(found.conditions.controls) == set(CONTROLS)
    # nothing of the run as it was trained is replaced
    assert not (run / "metrics.json").exists()
    out = run / "decoders" / "retrieve"
    facts = json.loads((out / "metrics.json").read_text())
    decoder = facts["decoder"]
    assert (decoder["name"], decoder["llm"], decoder["components"]) == ("retrieve", smol, 5)
    runs = {store.by_id[t].run_id for t in store.split.train}
    assert (
        decoder["readout"]["fitted_on"] == f"{len(store.split.train)} windows of {len(runs)} runs"
    )
    assert decoder["writing"]["shots"] == 2
    assert facts["sampling"] is None
    assert "retrieve: a frozen language model" in (out / "report.html").read_text()
    methods = (out / "paper" / "methods.md").read_text()
    assert "sentence read-out and a frozen language model" in methods
    assert "Q-Former" not in methods
    assert "query transformer" not in methods
    # images of noise hold nothing about the texts
    assert found.score("pairwise").value == pytest.approx(0.5, abs=0.25)


def test_the_read_out_is_fitted_on_training_windows(model, store, smol):
    choice = DecoderChoice("edit", llm=smol, writing=SHORT, samples=32, components=5)
    opened = open_decoder(model, store, store.split.test, choice)
    assert opened.decoder.readout.texts == tuple(store.by_id[t].text for t in store.split.train)
    brains = opened.windows(store, store.split.test[:3])
    frames = store.by_id[store.split.test[0]].frames
    assert brains.shape == (3, 5 * frames)
    # the training mean has no component
    zero = opened.windows(noise_store(store, "zero brain"), store.split.test[:1])
    np.testing.assert_allclose(zero, 0, atol=1e-3 * np.abs(brains).max())


def test_a_mixture_without_evidence_is_the_run(model, store):
    # images of noise: nothing is found in them on the validation part
    options = {"count": 100, "seed": 0}
    choice = DecoderChoice("mixture", candidates=4, components=5)
    opened = open_decoder(model, store, store.split.test, choice)
    assert opened.facts["weights"]["texts"] == len(store.split.val)
    assert opened.facts["readout"]["groups"] == len(
        {store.by_id[t].run_id for t in store.split.train}
    )
    mixed = control_model(model, store, store.split.test, decoder=opened, **options)
    plain = control_model(model, store, store.split.test, **options)
    assert set(mixed.controls) == set(CONTROLS)
    assert opened.decoder.weights.evidence == 0
    assert mixed["true brain"].texts == plain["true brain"].texts
    np.testing.assert_array_equal(mixed["true brain"].nll, plain["true brain"].nll)
    np.testing.assert_array_equal(mixed["prompt alone"].nll, plain["prompt alone"].nll)
    assert mixed["prompt alone"].texts == plain["prompt alone"].texts


def test_the_default_is_the_run_as_it_was_trained(model, store):
    options = {"bert": False, "linear": False}
    found = evaluate_model(model, store, store.split.test, **options)
    assert found.facts["decoder"] == {"name": "soft-prompt"}
    named = evaluate_model(model, store, store.split.test, decoder=DecoderChoice(), **options)
    np.testing.assert_array_equal(
        found.conditions["deranged brain"].nll, named.conditions["deranged brain"].nll
    )
