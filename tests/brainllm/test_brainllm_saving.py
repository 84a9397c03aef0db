"""A saved BrainLLM comes back whole, or not at all."""

from __future__ import annotations

import json
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from damage import flip_last_bit
from transformers import GPT2Config, GPT2LMHeadModel
from wordpieces import wordpiece

from fastbrain._io import sha256
from fastbrain.brainllm import (
    BrainLLM,
    BrainLLMCard,
    BrainLLMConfig,
    load_brainllm,
    reconstruct,
    save_brainllm,
)
from fastbrain.data import ArrayRows, VoxelStore, fit_pca
from fastbrain.errors import CheckpointError, ConfigError, OutputExistsError

K, VOXELS = 3, 20


def language(seed=0):
    torch.manual_seed(seed)
    tokenizer = wordpiece(("a", "b", "c"))
    sizes = {"vocab_size": len(tokenizer), "n_embd": 12, "n_layer": 1, "n_head": 2}
    return GPT2LMHeadModel(GPT2Config(**sizes)).eval(), tokenizer


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    llm, tokenizer = language()
    model = BrainLLM(
        BrainLLMConfig(K, frames=2, additive_position=True, steering=True),
        llm=llm,
        text_tokenizer=tokenizer,
    ).eval()
    torch.nn.init.normal_(model.steer.weight)
    rows = np.random.default_rng(0).integers(-99, 99, (30, VOXELS)).astype(np.int16)
    pca = fit_pca(ArrayRows(rows), K, fitted_on=("a", "b"), standardise="zscore")
    split = {"train": ["a", "b"], "val": ["c"], "test": ["d"]}
    card = BrainLLMCard("nowhere", 1.5, split, store="0123", lags=(1, 2), whiten=True)
    folder = save_brainllm(model, tmp_path_factory.mktemp("saved") / "model", card, pca=pca)
    return SimpleNamespace(folder=folder, model=model, pca=pca, card=card, rows=rows)


def test_it_decodes_as_before(saved):
    loaded = load_brainllm(saved.folder, llm=language())
    assert loaded.card == saved.card
    assert loaded.pca.scope == saved.pca.scope
    features = loaded.pca.transform(ArrayRows(saved.rows), whiten=loaded.card.whiten)
    np.testing.assert_array_equal(features, saved.pca.transform(ArrayRows(saved.rows), whiten=True))
    windows = torch.from_numpy(features[:4]).reshape(2, 2, K)
    assert not loaded.model.training
    assert reconstruct(loaded.model, windows, [3, 2]) == reconstruct(saved.model, windows, [3, 2])


def test_another_language_model_is_refused(saved):
    with pytest.raises(CheckpointError, match="must be the one of training"):
        load_brainllm(saved.folder, llm=language(seed=1))
    tuned, tokenizer = language()
    torch.nn.init.normal_(tuned.transformer.h[0].mlp.c_fc.weight)
    with pytest.raises(CheckpointError, match="must be the one of training"):
        load_brainllm(saved.folder, llm=(tuned, tokenizer))


@pytest.mark.parametrize(
    ("tr", "fingerprint", "message"),
    [(2.0, "0123", "clock of training, 1.5 s, got 2.0 s"), (1.5, "4567", "components of other")],
)
def test_another_store_is_refused(saved, tr, fingerprint, message):
    store = Mock(spec=VoxelStore, tr=tr, fingerprint=lambda: fingerprint)
    with pytest.raises(CheckpointError, match=message):
        load_brainllm(saved.folder, llm=language(), store=store)
    same = Mock(spec=VoxelStore, tr=1.5, fingerprint=lambda: "0123")
    load_brainllm(saved.folder, llm=language(), store=same)


def copied(saved, tmp_path, change):
    folder = tmp_path / "model"
    folder.mkdir()
    for file in saved.folder.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    change(folder)
    return folder


def signed(folder):
    names = ("model.safetensors", "features.safetensors", "config.json")
    (folder / "manifest.json").write_text(json.dumps({n: sha256(folder / n) for n in names}))


def rewrite(folder, **changes):
    described = json.loads((folder / "config.json").read_text())
    described["model"] |= changes
    (folder / "config.json").write_text(json.dumps(described))
    signed(folder)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        *(
            (lambda f, name=name: flip_last_bit(f / name), CheckpointError, name)
            for name in ("model.safetensors", "features.safetensors")
        ),
        (lambda f: (f / "config.json").unlink(), CheckpointError, "config.json"),
        (lambda f: rewrite(f, frames=3), CheckpointError, r"reshaped: positions \(2, 3\)"),
        (lambda f: rewrite(f, steering=False), CheckpointError, "extra: steer.weight"),
        (lambda f: rewrite(f, frame=3), ConfigError, "frame"),
    ],
)
def test_damage_is_found(saved, tmp_path, change, error, message):
    with pytest.raises(error, match=message):
        load_brainllm(copied(saved, tmp_path, change), llm=language())


def test_what_does_not_belong_together_is_not_saved(saved, tmp_path):
    with pytest.raises(OutputExistsError):
        save_brainllm(saved.model, saved.folder, saved.card)
    small = fit_pca(ArrayRows(saved.rows), 2, fitted_on=("a",))
    with pytest.raises(CheckpointError, match="must have the model's 3 components, got 2"):
        save_brainllm(saved.model, tmp_path / "x", saved.card, pca=small)
    leaky = fit_pca(ArrayRows(saved.rows), K, fitted_on=("a", "d"))
    with pytest.raises(CheckpointError, match=r"got 1 other samples \['d'\]"):
        save_brainllm(saved.model, tmp_path / "x", saved.card, pca=leaky)
    assert not (tmp_path / "x").exists()
