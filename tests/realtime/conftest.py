"""A finished run of each system, without its training; and the helpers of this folder."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest
import torch
from small_run import FRAMES, finished_run, language, language_folder, store  # noqa: F401

from fastbrain._io import write_json
from fastbrain.brainllm import BrainLLM, BrainLLMCard, BrainLLMConfig, save_brainllm
from fastbrain.data import StoreRows, fit_pca
from fastbrain.data.store.preparation import save_preparation
from fastbrain.lm.kept_llm import keep_llm

COMPONENTS = 3


@pytest.fixture(scope="session")
def brainllm_run(store, language, language_folder, finished_run, tmp_path_factory):  # noqa: F811
    """A BrainLLM with random weights, saved as training does."""
    run = tmp_path_factory.mktemp("finished-brainllm") / "run"
    record = keep_llm(language_folder, run)
    llm, tokenizer = language
    torch.manual_seed(0)
    model = BrainLLM(BrainLLMConfig(COMPONENTS, frames=FRAMES), llm=llm, text_tokenizer=tokenizer)
    torch.nn.init.normal_(next(iter(model.parameters())), std=0.5)
    train = store.split.train
    pca = fit_pca(StoreRows(store, train), COMPONENTS, fitted_on=train)
    split = {name: list(getattr(store.split, name)) for name in ("train", "val", "test")}
    card = BrainLLMCard(record.name, store.tr, split, store=store.fingerprint(), language=record)
    save_brainllm(model.eval(), run / "model", card, pca=pca)
    manifest = json.loads((finished_run / "manifest.json").read_text())
    for key in ("adaptation", "adapt_trials", "readout"):
        manifest.pop(key)
    manifest |= {"kind": "brainllm", "llm": record.name, "language_model": asdict(record)}
    write_json(run / "manifest.json", manifest)
    return run


@pytest.fixture(scope="session")
def runs(store, finished_run, brainllm_run):  # noqa: F811
    """Run folders by system, each with its preparation."""
    found = {"llm4brain": finished_run, "brainllm": brainllm_run}
    for run in found.values():
        save_preparation(store, run, replaced=True)
    return found
