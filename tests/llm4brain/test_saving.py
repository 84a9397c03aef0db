"""Saved models: whole, strict, without pickle, and only with the LLM they were trained with."""

from __future__ import annotations

import copy
import json
import pickle
import random
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from fastbrain._io import sha256
from fastbrain.errors import CheckpointError, ConfigError, FastbrainError, OutputExistsError
from fastbrain.llm4brain import LLM4BrainConfig, ModelCard, from_pretrained, save_pretrained

CARD = ModelCard(
    llm="somewhere/llm",
    tr=2.0,
    fingerprint="abc",
    affine=(
        (3.0, 0.0, 0.0, -9.0),
        (0.0, 3.0, 0.0, 1.0),
        (0.0, 0.0, 4.0, 2.0),
        (0.0, 0.0, 0.0, 1.0),
    ),
    prompt="What happens?",
    preprocessing={"units": "psc", "high_pass_s": 128.0, "window": {"delay_s": 4.0}},
)


@pytest.fixture
def saved(make_model, tmp_path):
    model = make_model(scale=0.25)
    return model, save_pretrained(model, tmp_path / "model", CARD)


def resign(folder):
    names = ("model.safetensors", "grid.safetensors", "config.json")
    digests = {n: sha256(folder / n) for n in names}
    (folder / "manifest.json").write_text(json.dumps(digests))


def test_a_model_comes_back_the_same(saved, voxels):
    model, folder = saved
    again = from_pretrained(folder, llm=(model.llm, None))
    assert again.config == model.config
    assert again.card == CARD
    assert again.grid.fingerprint() == model.grid.fingerprint()
    assert not again.training
    assert torch.equal(again.prefix(voxels), model.prefix(voxels))


def test_it_is_not_replaced_unasked(saved):
    model, folder = saved
    with pytest.raises(OutputExistsError):
        save_pretrained(model, folder, CARD)
    save_pretrained(model, folder, replace(CARD, tr=1.5), replace=True)
    assert from_pretrained(folder, llm=(model.llm, None)).card.tr == 1.5


@pytest.mark.parametrize("fault", ["missing", "extra", "reshaped"])
def test_tensors_that_do_not_fit_are_named(saved, fault):
    model, folder = saved
    state = load_file(folder / "model.safetensors")
    if fault == "missing":
        del state["bridge.map.weight"]
    elif fault == "extra":
        state["bridge.map.weights"] = torch.zeros(1)
    else:
        state["bridge.map.weight"] = torch.zeros(3, 3)
    save_file(state, folder / "model.safetensors")
    resign(folder)
    with pytest.raises(CheckpointError, match=rf"{fault}: bridge\.map\.weight"):
        from_pretrained(folder, llm=(model.llm, None))


@pytest.mark.parametrize(
    "name", ["model.safetensors", "grid.safetensors", "config.json", "manifest.json"]
)
def test_any_flipped_bit_is_found(saved, name):
    model, folder = saved
    path = folder / name
    whole = path.read_bytes()
    rng = random.Random(name)
    for _ in range(40):
        bit = rng.randrange(8 * len(whole))
        broken = bytearray(whole)
        broken[bit // 8] ^= 1 << bit % 8
        path.write_bytes(bytes(broken))
        with pytest.raises(CheckpointError):
            from_pretrained(folder, llm=(model.llm, None))
    path.write_bytes(whole)
    from_pretrained(folder, llm=(model.llm, None))


def test_a_missing_file_is_named(saved):
    model, folder = saved
    (folder / "grid.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"grid\.safetensors"):
        from_pretrained(folder, llm=(model.llm, None))


def test_an_unknown_key_is_an_error(saved):
    model, folder = saved
    described = json.loads((folder / "config.json").read_text())
    described["model"]["encoder"]["dimm"] = 3
    (folder / "config.json").write_text(json.dumps(described))
    resign(folder)
    with pytest.raises(ConfigError, match="Did you mean 'dim'"):
        from_pretrained(folder, llm=(model.llm, None))


def test_another_llm_is_refused(saved, make_model):
    _, folder = saved
    with pytest.raises(CheckpointError, match="somewhere/llm"):
        from_pretrained(folder, llm=(make_model("gpt2").llm, None))


def test_weights_that_are_not_finite_are_not_saved(make_model, tmp_path):
    model = make_model()
    with torch.no_grad():
        model.bridge.map.weight[0, 0] = float("nan")
    with pytest.raises(CheckpointError, match=r"bridge\.map\.weight"):
        save_pretrained(model, tmp_path / "model", CARD)
    assert not list(tmp_path.iterdir())


def test_no_pickle_is_ever_opened(saved, monkeypatch):
    model, folder = saved

    def refuse(*_args, **_options):
        raise AssertionError("a pickle was opened")

    monkeypatch.setattr(pickle, "Unpickler", refuse)
    monkeypatch.setattr(pickle, "load", refuse)
    monkeypatch.setattr(pickle, "loads", refuse)
    monkeypatch.setattr(torch, "load", refuse)
    from_pretrained(folder, llm=(model.llm, None))


def test_a_model_with_an_external_frame_encoder_decodes_without_it(make_model, tmp_path, voxels):
    from transformers import ViTConfig, ViTModel

    from fastbrain.llm4brain import from_vision_model

    vit = ViTConfig(
        hidden_size=12,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
        image_size=8,
        patch_size=4,
    )
    model = make_model(video=from_vision_model(ViTModel(vit)))
    folder = save_pretrained(model, tmp_path / "model", CARD)
    again = from_pretrained(folder, llm=(model.llm, None))
    assert torch.equal(again.prefix(voxels), model.prefix(voxels))
    with pytest.raises(FastbrainError, match="frame encoder"):
        again.video_latents(torch.rand(1, 2, 3, 8, 8))
    again = from_pretrained(folder, llm=(model.llm, None), video=model.video)
    frames = torch.rand(1, 2, 3, 8, 8)
    assert torch.equal(again.video_latents(frames), model.video_latents(frames))


def test_a_configuration_survives_json(small_config):
    assert LLM4BrainConfig.from_dict(json.loads(json.dumps(small_config.to_dict()))) == small_config


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"frame": 3}, "Did you mean 'frames'"),
        ({"frames": "3"}, r"LLM4BrainConfig\.frames"),
        ({"frames": True}, r"LLM4BrainConfig\.frames"),
        ({"pool": "max"}, "pool must be"),
        ({"encoder": {"dim": 10, "heads": 3}}, "multiple of the 3 heads"),
        ({"encoder": 3}, "must be an object"),
    ],
)
def test_a_wrong_configuration_says_what_is_wrong(values, message):
    with pytest.raises(ConfigError, match=message):
        LLM4BrainConfig.from_dict(values)


def test_another_language_model_with_the_same_embeddings_is_refused(saved):
    model, folder = saved
    other = copy.deepcopy(model.llm)
    with torch.no_grad():
        weight = next(w for n, w in other.named_parameters() if "embed" not in n and w.dim() == 2)
        weight[-1, -1] += 1
    with pytest.raises(CheckpointError, match="must be the one of training"):
        from_pretrained(folder, llm=(other, None))
    # models of earlier versions say less
    described = json.loads((folder / "config.json").read_text())
    del described["llm_digest"]
    (folder / "config.json").write_text(json.dumps(described))
    resign(folder)
    assert from_pretrained(folder, llm=(other, None)).card == CARD
