"""Codes start where the aligned map puts their patches; the probe works at any width."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from fastbrain._io import sha256
from fastbrain.errors import ConfigError, InputError
from fastbrain.lm.code_vocabulary import extend_vocabulary
from fastbrain.lm.word_lm import word_tokenizer
from fastbrain.vqlm import (
    CoderCard,
    QuantiserConfig,
    VQAutoencoder,
    VQAutoencoderConfig,
    load_vq,
    save_vq,
)
from fastbrain.vqlm.training import SeriesLoader
from fastbrain.vqlm.training.code_images import code_images, probe_alignment
from fastbrain.vqlm.training.coder_stage import code_vectors, coder_settings
from fastbrain.vqlm.training.config import VQLMConfig

PATCH, FRAMES, R = 5, 20, 3


def runs(count, seed=0, frames=53):
    rng = np.random.default_rng(seed)
    return {f"run-{seed}-{i}": rng.standard_normal((R, frames)) for i in range(count)}


def windows(of):
    return SeriesLoader(of, frames=FRAMES, patch=PATCH, batch_size=4, shuffle=False)


def coder(text_dim, codes=24):
    torch.manual_seed(0)
    quantiser = QuantiserConfig(codes=codes, dim=6)
    config = VQAutoencoderConfig(
        R, patch=PATCH, dim=12, depth=1, heads=2, quantiser=quantiser, text_dim=text_dim
    )
    model = VQAutoencoder(config, center=np.zeros(R), spread=np.ones(R)).eval()
    vectors = model.narrow(model.encode(model.patches(torch.randn(40, R, FRAMES))))
    model.quantiser.start(vectors.flatten(0, 2).detach())
    return model


@pytest.mark.parametrize("text_dim", [9, 12])
def test_an_image_is_the_mapped_mean_feature_of_the_patches_of_a_code(text_dim):
    model, train = coder(text_dim), runs(3)
    found = code_images(model, windows(train))
    mapped, codes = [], []
    # window by window, so that no patch is masked
    for run in train.values():
        for start in (0, 20, 40):
            part = torch.tensor(run[None, :, start : start + 20]).float()
            part = part[..., : part.shape[2] // PATCH * PATCH]
            with torch.no_grad():
                mapped.append(model.to_text(model.encode(model.patches(part))).flatten(0, 2))
                codes.append(model.codes(part).flatten())
    mapped, codes = torch.cat(mapped), torch.cat(codes)
    counts = torch.bincount(codes, minlength=24)
    assert torch.equal(found.counts, counts)
    assert found.fitted_on == tuple(train)
    for code in counts.nonzero().flatten():
        expected = mapped[codes == code].mean(dim=0)
        torch.testing.assert_close(found.vectors[code], expected, atol=1e-5, rtol=1e-4)


def test_a_code_without_patches_gets_the_image_of_its_nearest_neighbour():
    model = coder(9)
    one = {"a": runs(1, frames=15)["run-0-0"]}
    found = code_images(model, windows(one))
    unused = (found.counts == 0).nonzero().flatten()
    used = found.counts.nonzero().flatten()
    assert len(unused) > 5
    places = model.quantiser.values_of(torch.arange(24))
    for code in unused:
        near = used[(places[used] - places[code]).norm(dim=1).argmin()]
        assert torch.equal(found.vectors[code], found.vectors[near])


def test_a_model_that_is_not_aligned_has_no_images():
    with pytest.raises(InputError, match="domain classifier"):
        code_images(coder(None), windows(runs(1)))


@pytest.mark.parametrize(
    ("text_dim", "width", "name"),
    [(9, 9, "aligned"), (12, 12, "aligned"), (None, 12, "identity"), (None, 9, "random")],
)
def test_the_probe_works_at_any_width(text_dim, width, name):
    words = torch.randn(40, width, generator=torch.Generator().manual_seed(1)) + 3
    found = probe_alignment(coder(text_dim), windows(runs(4)), words)
    assert found["map"] == name
    assert found["accuracy"] > 0.8
    assert found["n_text"] == 20


def tiny(tied):
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = word_tokenizer(["how old is this person ? 0 1 2"])
    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1}
    config = LlamaConfig(
        vocab_size=len(tokenizer), **sizes, num_attention_heads=2, tie_word_embeddings=tied
    )
    return LlamaForCausalLM(config), tokenizer


@pytest.mark.parametrize("tied", [True, False])
def test_embeddings_are_the_images_up_to_one_shift_and_one_scale(tied):
    generator = torch.Generator().manual_seed(2)
    images = torch.randn(7, 8, generator=generator) * torch.arange(1, 9)
    codebook = torch.randn(7, 3, generator=generator)
    starts = {}
    for name, more in (("aligned", {"images": images}), ("rotated", {})):
        llm, tokenizer = tiny(tied)
        words = llm.get_input_embeddings().weight.detach().clone()
        first = extend_vocabulary(llm, tokenizer, 7, codebook=codebook, **more).first
        starts[name] = [
            end.weight.detach()[first : first + 7]
            for end in (llm.get_input_embeddings(), llm.get_output_embeddings())
        ]
    centred = starts["aligned"][0] - starts["aligned"][0].mean(dim=0)
    shape = images - images.mean(dim=0)
    torch.testing.assert_close(centred / centred.norm(), shape / shape.norm())
    torch.testing.assert_close(starts["aligned"][0].mean(dim=0), words.mean(dim=0))
    if not tied:  # the output layer has a space of its own
        torch.testing.assert_close(starts["aligned"][1], starts["rotated"][1])


@pytest.mark.parametrize("shape", [(7, 9), (6, 8)])
def test_images_have_the_width_of_the_model(shape):
    llm, tokenizer = tiny(True)
    size = len(tokenizer)
    with pytest.raises(InputError, match=r"\(7, 8\)"):
        extend_vocabulary(llm, tokenizer, 7, images=torch.zeros(shape))
    assert len(tokenizer) == size


def test_the_map_is_saved_and_a_folder_without_one_is_read_as_not_aligned(tmp_path):
    card = CoderCard(("a", "b", "c"), 2.0, ("run-0-0",))
    model = coder(9)
    save_vq(model, tmp_path / "aligned", card)
    loaded, _ = load_vq(tmp_path / "aligned")
    assert loaded.config == model.config
    assert torch.equal(loaded.to_text.weight, model.to_text.weight)
    save_vq(coder(None), tmp_path / "old", card)
    described = (tmp_path / "old" / "config.json").read_text()
    assert "text_dim" in described
    # a folder written before the map was saved does not name it
    config = json.loads(described)
    del config["model"]["text_dim"]
    (tmp_path / "old" / "config.json").write_text(json.dumps(config))
    files = ("model.safetensors", "config.json")
    manifest = {name: sha256(tmp_path / "old" / name) for name in files}
    (tmp_path / "old" / "manifest.json").write_text(json.dumps(manifest))
    assert load_vq(tmp_path / "old")[0].to_text is None


def test_a_map_keeps_its_width():
    model = coder(9)
    model.map_to_text(9)
    with pytest.raises(InputError, match="width 9"):
        model.map_to_text(8)


def test_what_the_configuration_leaves_open_follows_from_the_preset():
    settings = coder_settings(VQLMConfig(), regions=4)
    assert (settings.steps, settings.code_start) == (24, "rotated")
    aligned = coder_settings(VQLMConfig(preset="poster-small"), regions=4)
    assert (aligned.code_start, aligned.stage.weights.domain) == ("aligned", 1.0)
    poster = coder_settings(VQLMConfig(preset="poster", llm="gpt2"), regions=424)
    assert (poster.steps, poster.sizes.dim, poster.sizes.quantiser.size) == (10, 512, 8192)
    with pytest.raises(ConfigError, match="language model by name"):
        coder_settings(VQLMConfig(preset="poster"), regions=424)
    with pytest.raises(ConfigError, match="--domain 1"):
        coder_settings(VQLMConfig(code_start="aligned"), regions=4)
    with pytest.raises(ConfigError, match="code_start"):
        VQLMConfig(code_start="rotation")


def test_starting_vectors_are_of_the_training_people():
    model, parts = coder(9), {"train": runs(3), "test": runs(3, seed=1)}
    settings = coder_settings(VQLMConfig(domain=1.0), regions=R)
    settings = replace(settings, stage=replace(settings.stage, frames=FRAMES))
    found = code_vectors(model, parts, settings)
    expected = code_images(model, windows(parts["train"])).vectors
    torch.testing.assert_close(found["images"], expected)
    changed = code_vectors(model, {**parts, "test": runs(2, seed=2)}, settings)
    assert torch.equal(changed["images"], found["images"])
    assert code_vectors(model, parts, replace(settings, code_start="random")) == {}
    assert set(code_vectors(model, parts, replace(settings, code_start="rotated"))) == {"codebook"}
