"""A run with an encoder of the user and a device map is trained; decoding needs the user's word."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import pytest

# fixtures
from small_run import language_folder as language_folder
from small_run import store as store

from fastbrain.cli import main
from fastbrain.llm4brain import EncoderConfig, LLM4BrainConfig, QFormerConfig, custom_encoder
from fastbrain.llm4brain.training import RunConfig, preset

SOURCE = """
import torch

class Flat(torch.nn.Module):
    def __init__(self, tokens, dim, steps, centers_mm, width):
        super().__init__()
        self.map = torch.nn.Linear(dim, width)
        self.out_tokens, self.out_dim = tokens * steps, width

    def forward(self, tokens):
        return self.map(tokens)
"""
NAME = "lab_encoders:Flat"


def recipe() -> RunConfig:
    fast = {"epochs": 1, "batch_size": 8, "keep_best": False}
    return RunConfig(
        stimulus="text",
        video=None,
        model=LLM4BrainConfig(
            encoder=EncoderConfig(dim=12, depth=1),
            qformer=QFormerConfig(dim=12, depth=1, n_queries=2),
            readout_rank=2,
            bridge_tokens=2,
        ),
        stage1=replace(preset("stage1"), **fast),
        stage2=replace(preset("stage2"), **fast),
    )


@pytest.mark.slow
def test_a_run_names_its_encoder_and_opens_with_the_users_word(
    store, language_folder, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(custom_encoder, "_trusted", set())
    monkeypatch.setenv("FASTBRAIN_CACHE", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "lab_encoders.py").write_text(SOURCE)
    (tmp_path / "small.json").write_text(json.dumps(recipe().to_dict()))
    run, out = tmp_path / "run", tmp_path / "texts.json"
    train = ["train", str(store.path), str(run), "--config", str(tmp_path / "small.json")]
    own = ["--encoder", NAME, "--encoder-arguments", '{"width": 6}']
    more = [
        "--llm",
        str(language_folder),
        "--llm-device-map",
        '{"": "cpu"}',
        "--allow-leak",
        "a test",
    ]
    assert main([*train, *own, *more, "--dry-run"]) == 0
    assert not run.exists()
    # as under torchrun --max-restarts: a new folder is begun
    assert main([*train, *own, *more, "--resume"]) == 0
    recorded = json.loads((run / "config.json").read_text())["config"]
    assert recorded["llm_device_map"] == {"": "cpu"}
    assert recorded["model"]["custom_encoder"]["name"] == NAME
    assert recorded["model"]["custom_encoder"]["arguments"] == {"width": 6}
    assert len(recorded["model"]["custom_encoder"]["source"]) == 64

    custom_encoder._trusted.clear()
    sys.modules.pop("lab_encoders")
    decode = ["decode", str(run), "--out", str(out), "--max-tokens", "2", "--no-confidence"]
    capsys.readouterr()
    assert main(decode) != 0
    assert f"--trust-encoder {NAME}" in capsys.readouterr().err
    assert "lab_encoders" not in sys.modules
    assert main([*decode, "--trust-encoder", NAME]) == 0
    assert out.is_file()
    sys.modules.pop("lab_encoders")
