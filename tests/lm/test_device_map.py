"""Language models spread by a device map: the numbers of whole ones, and plain refusals."""

from __future__ import annotations

import importlib.util
from dataclasses import replace

import process_cases
import pytest
import torch

from fastbrain.brainllm.training.run_config import BrainLLMRunConfig
from fastbrain.decoding.engine.objections import reason_against
from fastbrain.errors import ConfigError, InputError, MissingPartError
from fastbrain.llm4brain.saving import ModelCard, from_pretrained, save_pretrained
from fastbrain.llm4brain.training import RunConfig
from fastbrain.lm.device_map import check_device_map, parse_device_map
from fastbrain.lm.loading import llm_fingerprint, load_llm, model_digest
from fastbrain.lm.word_lm import word_tokenizer

IDS = torch.arange(10)[None]
CPU = {"": "cpu"}
WHOLE_PARTS = {"model.embed_tokens": "cpu", "model.norm": "cpu", "model.rotary_emb": "cpu"}


@pytest.fixture
def folder(make_llm, tmp_path):
    make_llm("llama").save_pretrained(tmp_path)
    word_tokenizer(["a ball"]).save_pretrained(tmp_path)
    return str(tmp_path)


def places(folder):
    """Map with every second layer and the head on disk."""
    layers = load_llm(folder)[0].config.num_hidden_layers
    split = {f"model.layers.{i}": ("disk", "cpu")[i % 2] for i in range(layers)}
    return {**WHOLE_PARTS, **split, "lm_head": "disk"}


@pytest.mark.parametrize("kind", ["auto", "cpu", "disk"])
def test_a_spread_model_is_the_whole_one_in_values_gradients_and_digests(kind, folder):
    given = {"auto": "auto", "cpu": CPU, "disk": places(folder)}[kind]
    whole, llm = load_llm(folder)[0], load_llm(folder, device_map=given)[0]
    assert any(p.device.type == "meta" for p in llm.parameters()) == (kind == "disk")
    assert llm_fingerprint(llm) == llm_fingerprint(whole)
    assert model_digest(llm) == model_digest(whole)
    # as part of a model that is moved, it stays in its place
    torch.nn.ModuleDict({"llm": llm}).to("cpu")
    found = []
    for model in (whole, llm):
        words = whole.get_input_embeddings()(IDS).detach().requires_grad_(True)
        logits = model(inputs_embeds=words).logits
        logits.square().sum().backward()
        found.append((logits.detach(), words.grad))
    torch.testing.assert_close(found[1], found[0])
    assert reason_against(llm) == "a device map says where its layers are"


@pytest.mark.parametrize(
    "given", ["every", {}, {"": "nowhere"}, {"": True}, {"": -1}, {1: "cpu"}, {"": 1.5}]
)
def test_what_is_no_device_map_is_refused(given, folder):
    for take in (
        lambda: load_llm(folder, device_map=given),
        lambda: RunConfig(llm_device_map=given),
        lambda: BrainLLMRunConfig(llm_device_map=given),
    ):
        with pytest.raises((ConfigError, InputError), match="device_map must"):
            take()


def test_a_map_that_cannot_work_here_is_refused_with_the_reason(monkeypatch):
    with pytest.raises(ConfigError, match="must be None with several processes"):
        check_device_map("auto", function="train", alone=False)
    with pytest.raises(ConfigError, match=r"must name devices of this machine, got 7"):
        check_device_map({"": 7})
    with pytest.raises(ConfigError, match="llm_rank must be 0 with llm_device_map"):
        replace(RunConfig().tuning_llm(2), llm_device_map="auto")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingPartError, match="pip install accelerate"):
        check_device_map("auto")


def test_a_device_map_of_a_command_line_is_a_strategy_or_json():
    assert parse_device_map("auto") == "auto"
    assert parse_device_map('{"": "cpu", "lm_head": 0}') == {"": "cpu", "lm_head": 0}
    with pytest.raises(ConfigError, match="JSON must be readable"):
        parse_device_map("{cpu}")
    config = RunConfig(llm_device_map=CPU)
    assert RunConfig.from_dict(config.to_dict()) == config


def test_a_saved_model_is_opened_with_the_map_of_its_training(tmp_path):
    model = process_cases.llm4brain().eval()
    model.llm.save_pretrained(tmp_path / "llm")
    model.text_tokenizer.save_pretrained(tmp_path / "llm")
    split = {**WHOLE_PARTS, "model.layers.0": "disk", "lm_head": "cpu"}
    card = ModelCard(str(tmp_path / "llm"), 2.0, llm_device_map=split)
    save_pretrained(model, tmp_path / "model", card)
    opened = from_pretrained(tmp_path / "model")
    assert opened.card.llm_device_map == split
    assert any(p.device.type == "meta" for p in opened.llm.parameters())
    voxels = process_cases.Windows(2, batch_size=2)._batch([0, 1]).voxels
    answers = torch.tensor([[5, 6], [7, 8]])
    prompt, mask = torch.tensor([3, 4]), torch.ones(2, 2, dtype=torch.bool)
    with torch.no_grad():
        whole, spread = (
            m.sequence_nll(m.prefix(voxels), prompt, answers, mask) for m in (model, opened)
        )
    torch.testing.assert_close(spread, whole)
