"""An evaluation in which some test windows are held back."""

from __future__ import annotations

import json
import shutil

import pytest

from fastbrain.brainllm.evaluate import evaluate_brainllm, open_brainllm_run
from fastbrain.evaluation import run_store
from fastbrain.inference import decode
from fastbrain.llm4brain.evaluate import evaluate_model, evaluate_run, open_run

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("lost", "apart"), [(0, True), (2, False)])
def test_held_windows_do_not_stop_an_evaluation(trained, tmp_path, monkeypatch, lost, apart):
    """With two test runs, one of them held in part, no partners are left in another run."""
    run = tmp_path / "run"
    shutil.copytree(trained.run("llm4brain"), run)
    held = {i: "spread 9 SD" for i in trained.store.split.test[-lost:]} if lost else {}
    monkeypatch.setattr(run_store, "window_faults", lambda *_: held)
    evaluate_run(run, store=trained.store.path, bert=False)
    facts = json.loads((run / "metrics.json").read_text())
    assert facts["held"] == held
    assert facts["n"] == 16 - lost
    assert (facts["partners_exclude"] == ["run_id"]) == apart
    assert ("no p for them" in facts.get("partners", "")) == (not apart)


@pytest.mark.parametrize("system", ["llm4brain", "brainllm"])
def test_the_engine_writes_the_same_texts(trained, system):
    store, options = trained.store, {"bert": False, "linear": False, "engine": True}
    if system == "llm4brain":
        model, _, _ = open_run(trained.run(system), store=store.path)
        found = evaluate_model(model, store, store.split.test, **options)
    else:
        saved, _, _ = open_brainllm_run(trained.run(system), store=store.path)
        found = evaluate_brainllm(saved, store, store.split.test, **options)
    assert found.facts["texts_by"] == "decode engine"
    plain = decode(trained.run(system), store=store.path, confidence=False)
    assert tuple(sample.decoded for sample in found.samples) == plain.texts
