"""Masked-brain pretraining as a command: from a store to weights that LLM4Brain takes."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file

from fastbrain import cli
from fastbrain._io import sha256
from fastbrain.data import (
    CohortDesign,
    VoxelStore,
    WindowSpec,
    prepare_store,
    read_runs_table,
    simulate_cohort,
    split_unseen,
)
from fastbrain.errors import CheckpointError
from fastbrain.llm4brain import SCMBM, VoxelTokenizer, load_scmbm
from fastbrain.llm4brain.training.pretrain_encoder import ScmbmConfig, train_scmbm

SMALL = {
    "encoder": {
        "dim": 24, "depth": 1, "heads": 2, "steps": 2,
        "decoder_dim": 12, "decoder_depth": 1, "decoder_heads": 2,
    },
    "stage": {
        "name": "pretrain", "epochs": 2, "batch_size": 8, "groups": ["tokenizer", "encoder"],
        "checkpoint_every": 1,
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> VoxelStore:
    folder = tmp_path_factory.mktemp("cohort")
    design = CohortDesign(subjects=3, runs=3, trials=4, resolution_mm=8)
    runs = read_runs_table(simulate_cohort(folder / "cohort", design))
    return prepare_store(
        runs, folder / "store", window=WindowSpec(4.0, 4), kernel=(4, 4, 4),
        split=lambda t: split_unseen(t, test_subjects=["03"], val_fraction=0.3),
    )  # fmt: skip


def test_from_store_to_encoder(store, tmp_path, capsys):
    config = tmp_path / "config.json"
    config.write_text(json.dumps(SMALL))
    out = tmp_path / "run"
    said = ["train", "scmbm", str(store.path), str(out), "--config", str(config)]
    assert cli.main(said) == 0
    assert "of variance 1" in capsys.readouterr().out
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["files"]["encoder.safetensors"] == sha256(out / "encoder.safetensors")
    assert set(manifest["trained_on"]) == set(store.split.train)
    tensors = load_file(out / "encoder.safetensors")
    encoder = SCMBM(ScmbmConfig.from_dict(SMALL).encoder, store.grid.centers(store.affine))
    tokenizer = VoxelTokenizer(store.grid, 4, 24, steps=2)
    loaded = load_scmbm(encoder, out / "encoder.safetensors", tokenizer=tokenizer)
    assert (loaded.positions, loaded.tokenizer) == ("kept", True)
    assert torch.equal(tokenizer.weight, tensors["tokenizer.weight"])
    with pytest.raises(CheckpointError, match="with its tokenizer must fit"):
        load_scmbm(
            encoder, out / "encoder.safetensors", tokenizer=VoxelTokenizer(store.grid, 4, 24)
        )
    assert torch.equal(encoder.blocks[0].mlp.up.weight, tensors["encoder.blocks.0.mlp.up.weight"])
    assert cli.main(said) == 1  # the folder is taken
    assert "must be new" in capsys.readouterr().err


def test_resumed_is_the_run_that_never_stopped(store, tmp_path, monkeypatch):
    from fastbrain.training import loop

    config = ScmbmConfig.from_dict(SMALL)
    train_scmbm(store, tmp_path / "whole", config)
    real, steps = loop.take_step, []

    def dies(*args):
        if len(steps) == 2:
            raise KeyboardInterrupt
        steps.append(1)
        return real(*args)

    monkeypatch.setattr(loop, "take_step", dies)
    with pytest.raises(KeyboardInterrupt):
        train_scmbm(store, tmp_path / "run", config)
    monkeypatch.setattr(loop, "take_step", real)
    with pytest.raises(CheckpointError, match="must keep its configuration"):
        train_scmbm(store, tmp_path / "run", ScmbmConfig(seed=9), resume=True)
    train_scmbm(store, tmp_path / "run", config, resume=True)
    files = [tmp_path / name / "encoder.safetensors" for name in ("whole", "run")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_recipes_of_train(capsys):
    for name in ("train", "train llm4brain", "train scmbm"):
        assert cli.main([*name.split(), "--help"]) == 0
        assert f"usage: fastbrain {name} " in capsys.readouterr().out
    assert cli.main(["train", "scmbm", "s", "o", "--print-config"]) == 0
    assert json.loads(capsys.readouterr().out)["encoder"]["steps"] == 1
