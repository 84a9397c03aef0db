"""Adaptation of BrainLLM: the decoder alone is tuned, on runs that are never scored."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from fastbrain.brainllm.evaluate import open_brainllm_run
from fastbrain.brainllm.training import adapt, brainllm_preset
from fastbrain.brainllm.training.adapt import ADAPT, adapt_brainllm
from fastbrain.brainllm.training.pipeline import BrainLLMRunConfig, train_brainllm_run


@pytest.fixture(scope="module")
def base(store, language_folder, tmp_path_factory):
    """A run of one epoch."""
    training = brainllm_preset("fastbrain")
    stage = replace(ADAPT, name="tune", epochs=1)
    training = replace(training, warmup=None, tune=stage)
    config = BrainLLMRunConfig(features=4, llm=str(language_folder), training=training)
    out = tmp_path_factory.mktemp("base") / "run"
    train_brainllm_run(store, out, config, allow_leak="small")
    return out


def test_the_decoder_alone_is_tuned(base, store, tmp_path):
    out = tmp_path / "new"
    adapt_brainllm(
        base, store, out, subject="02", runs=2, config=replace(ADAPT, epochs=1), allow_leak="small"
    )
    before, _, _ = open_brainllm_run(base)
    after, _, manifest = open_brainllm_run(out)
    np.testing.assert_array_equal(after.pca.components, before.pca.components)
    assert after.pca.scope == before.pca.scope
    changed = [
        name
        for (name, a), (_, b) in zip(
            before.model.state_dict().items(), after.model.state_dict().items(), strict=True
        )
        if not np.array_equal(a.numpy(), b.numpy())
    ]
    assert changed
    fitted, val = (
        {store.by_id[t].run_id for t in manifest["split"][part]} for part in ("train", "val")
    )
    scored = {store.by_id[t].run_id for t in manifest["scored_trials"]}
    first, last = manifest["adapted"]["runs"]
    # the last run stops the training
    assert first in fitted
    assert val == {last}
    assert not scored & {*fitted, first, last}
    assert {store.by_id[t].subject for t in manifest["scored_trials"]} == {"02"}
    assert manifest["audit"]["fits"]["decoder for 02"] == 6
    assert json.loads((out / "manifest.json").read_text())["kind"] == "brainllm"


def test_texts_follow_what_they_followed_in_training(store, language_folder, tmp_path, monkeypatch):
    trials = [replace(t, prompt=f"one two {t.text}", instruction="say it") for t in store.trials]
    prompted = replace(store, trials=trials)
    training = brainllm_preset("fastbrain")
    training = replace(training, warmup=None, tune=replace(ADAPT, name="tune", epochs=1))
    config = BrainLLMRunConfig(
        features=4, llm=str(language_folder), training=training, prompt_length=2
    )
    train_brainllm_run(prompted, tmp_path / "run", config, allow_leak="small")
    read = []

    class Seen(adapt.BrainTextLoader):
        def __init__(self, data, **options):
            read.extend(data.prompts)
            super().__init__(data, **options)

    monkeypatch.setattr(adapt, "BrainTextLoader", Seen)
    adapt_brainllm(
        tmp_path / "run", prompted, tmp_path / "new", subject="02", runs=1,
        config=replace(ADAPT, epochs=1), allow_leak="small",
    )  # fmt: skip
    wanted = {" ".join(f"one two {t.text}".split()[-2:]) for t in trials}
    assert read
    assert set(read) <= wanted
