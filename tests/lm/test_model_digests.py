"""Digests see every weight, setting and rule of a tokenizer, and nothing that a call changes."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from smol_twin import smol_llm, smol_tokenizer

from fastbrain.lm import load_llm
from fastbrain.lm.loading import model_digest, vocabulary_digest
from fastbrain.lm.lora import TunedLLM, digests, merge_adapter

EARLIER = "0" * 16  # a digest of an earlier version has 16 digits


@pytest.fixture
def llm():
    return smol_llm(smol_tokenizer())


@pytest.fixture
def folder(llm, tmp_path):
    llm.save_pretrained(tmp_path)
    smol_tokenizer().save_pretrained(tmp_path)
    return tmp_path


def edit(path, change):
    config = json.loads(path.read_text())
    change(config)
    path.write_text(json.dumps(config))


def unsampled(flat):
    """Places that are not among 64 at even distances."""
    places = torch.ones(len(flat), dtype=torch.bool)
    places[torch.linspace(0, len(flat) - 1, min(64, len(flat))).long()] = False
    return places


def test_loading_changes_no_digest(llm, folder):
    model, tokenizer = load_llm(str(folder))
    assert model_digest(model) == model_digest(llm)
    assert model_digest(load_llm(str(folder), dtype="bfloat16")[0]) == model_digest(llm)
    assert vocabulary_digest(tokenizer) == vocabulary_digest(smol_tokenizer())
    model(torch.arange(9)[None])
    assert model_digest(model) == model_digest(llm)


def test_every_value_of_a_weight_counts(llm):
    before, earlier = model_digest(llm), model_digest(llm, like=EARLIER)
    flat = llm.model.layers[0].mlp.up_proj.weight.data.view(-1)
    flat[unsampled(flat).nonzero()[0]] += 1
    assert model_digest(llm) != before
    assert model_digest(llm, like=before) == model_digest(llm)
    assert model_digest(llm, like=EARLIER) == earlier


def test_saved_buffers_count_and_others_do_not(llm):
    before = model_digest(llm)
    llm.model.register_buffer("scratch", torch.ones(2), persistent=False)
    assert model_digest(llm) == before
    llm.model.register_buffer("count", torch.tensor(3))
    counted = model_digest(llm)
    assert counted != before
    llm.model.count += 1
    assert model_digest(llm) != counted


@pytest.mark.parametrize(
    "change",
    [
        {"rms_norm_eps": 10.0},
        {"hidden_act": "relu"},
        {"rope_parameters": {"rope_theta": 3.0, "rope_type": "default"}},
        {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16},
    ],
)
def test_settings_that_change_the_output_count(llm, folder, change):
    edit(folder / "config.json", lambda config: config.update(change))
    assert model_digest(load_llm(str(folder))[0]) != model_digest(llm)


def test_names_versions_and_dropout_do_not_count(llm, folder):
    change = {"transformers_version": "9.9", "attention_dropout": 0.5, "use_cache": False}
    change |= {"architectures": ["LlamaForCausalLM"], "_name_or_path": "elsewhere"}
    change |= {"an_option_that_is_off": False}
    edit(folder / "config.json", lambda config: config.update(change))
    assert model_digest(load_llm(str(folder))[0]) == model_digest(llm)


def test_ends_of_the_generation_count(llm):
    before = model_digest(llm)
    llm.generation_config.eos_token_id = [2, 5]
    assert model_digest(llm) != before


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("tokenizer.json", lambda c: c["model"]["merges"].pop()),
        ("tokenizer.json", lambda c: c.update(normalizer={"type": "Lowercase"})),
        ("tokenizer_config.json", lambda c: c.update(model_max_length=4)),
        ("tokenizer_config.json", lambda c: c.update(bos_token="<|endoftext|>")),
    ],
)
def test_rules_of_a_tokenizer_count(folder, file, change):
    before = vocabulary_digest(load_llm(str(folder))[1])
    edit(folder / file, change)
    assert vocabulary_digest(load_llm(str(folder))[1]) != before


def test_what_a_call_sets_does_not_count():
    tokenizer = smol_tokenizer()
    before = vocabulary_digest(tokenizer)
    tokenizer(["a man", "a dog and a man"], padding=True, truncation=True, max_length=2)
    assert vocabulary_digest(tokenizer) == before


def test_merges_of_a_slow_tokenizer_count():
    class Slow:
        bos_token_id, bpe_ranks, chat_template = 0, {("a", "b"): 0, ("b", "c"): 1}, None

        def get_vocab(self):
            return {"<s>": 0, "ab": 1, "bc": 2}

    first, second = Slow(), Slow()
    assert vocabulary_digest(first) == vocabulary_digest(second)
    second.bpe_ranks = {("b", "c"): 0, ("a", "b"): 1}
    assert vocabulary_digest(first) != vocabulary_digest(second)


def test_an_adapter_of_an_earlier_version_is_merged(llm, tmp_path):
    pytest.importorskip("peft")
    TunedLLM(smol_llm(smol_tokenizer()), 2).save(tmp_path)
    path = tmp_path / "adapter_model.safetensors"
    with safe_open(path, "pt") as file:
        named = file.metadata()
    base = next(name for name, value in named.items() if value == model_digest(llm))
    recorded = {**named, base: model_digest(llm, like=EARLIER)}
    save_file(load_file(path), path, metadata=recorded)
    merged = merge_adapter(llm, tmp_path, digests(tmp_path), function="test")
    assert not merged.training
