"""LoRA on the language model of a decoder: stock PEFT adapters, loaded strictly."""

from __future__ import annotations

import json

import pytest
import torch
from nonzero_adapters import nonzero_lora
from safetensors.torch import load_file, save_file

from fastbrain.brainllm import BrainLLM, BrainLLMCard, BrainLLMConfig, load_brainllm, save_brainllm
from fastbrain.errors import CheckpointError, ConfigError
from fastbrain.llm4brain import ModelCard, from_pretrained, save_pretrained
from fastbrain.llm4brain.training import RunConfig
from fastbrain.lm.loading import model_digest
from fastbrain.lm.lora import TunedLLM, digests, is_adapter, merge_adapter, without_adapter

IDS = torch.arange(12).reshape(2, 6)
CARD = ModelCard(llm="somewhere/llm", tr=2.0)
# the sum of two products against the product with the sum, float32
CLOSE = {"rtol": 1e-4, "atol": 1e-5}


@pytest.fixture
def tuned(make_llm):
    """A language model with LoRA that changes what it says."""
    llm = make_llm("llama")
    tuned = TunedLLM(llm, 3, seed=1)
    nonzero_lora(llm)
    return llm, tuned


def test_the_adapter_is_that_of_stock_peft(tuned, make_llm, tmp_path):
    from peft import PeftModel

    llm, lora = tuned
    lora.save(tmp_path / "adapter")
    stock = PeftModel.from_pretrained(make_llm("llama"), tmp_path / "adapter")
    assert torch.equal(stock(IDS).logits, llm(IDS).logits)
    assert not torch.allclose(make_llm("llama")(IDS).logits, llm(IDS).logits, atol=0.01)


def test_the_adapter_is_merged_where_it_fits_and_refused_elsewhere(tuned, make_llm, tmp_path):
    llm, lora = tuned
    folder = tmp_path / "adapter"
    files = lora.save(folder)
    merged = merge_adapter(make_llm("llama"), folder, files, function="test")
    torch.testing.assert_close(merged(IDS).logits, llm(IDS).logits, **CLOSE)
    assert not any(is_adapter(name) for name, _ in merged.named_parameters())
    weights = load_file(folder / "adapter_model.safetensors")
    name = next(iter(weights))
    save_file({k: v for k, v in weights.items() if k != name}, folder / "adapter_model.safetensors")
    with pytest.raises(CheckpointError, match=r"adapter_model\.safetensors"):
        merge_adapter(make_llm("llama"), folder, files, function="test")
    with pytest.raises(CheckpointError, match="missing, extra or reshaped"):
        merge_adapter(make_llm("llama"), folder, digests(folder), function="test")
    (folder / "adapter_config.json").unlink()
    with pytest.raises(CheckpointError, match="must hold the adapter"):
        merge_adapter(make_llm("llama"), folder, files, function="test")


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_the_adapter_can_be_taken_off_a_merged_model(kind, make_llm, tmp_path):
    lora = TunedLLM(make_llm(kind), 3)
    nonzero_lora(lora.peft)
    files = lora.save(tmp_path / "adapter")
    merged = merge_adapter(make_llm(kind), tmp_path / "adapter", files, function="test")
    before, base = merged(IDS).logits, make_llm(kind)(IDS).logits
    assert not torch.allclose(before, base, **CLOSE)
    with without_adapter(merged, tmp_path / "adapter"):
        torch.testing.assert_close(merged(IDS).logits, base, **CLOSE)
    assert torch.equal(merged(IDS).logits, before)
    with without_adapter(merged, None):
        assert torch.equal(merged(IDS).logits, before)


def test_a_model_with_the_same_embeddings_is_not_the_base(tuned, make_llm, tmp_path):
    files = tuned[1].save(tmp_path / "adapter")
    other = make_llm("llama")
    with torch.no_grad():
        other.model.layers[0].mlp.up_proj.weight.mul_(2)
    with pytest.raises(CheckpointError, match="language model that it was trained on"):
        merge_adapter(other, tmp_path / "adapter", files, function="test")


def test_a_digest_knows_the_weights_below(tuned, make_llm):
    assert model_digest(tuned[0]) == model_digest(make_llm("llama"))


def test_llm4brain_is_saved_with_its_adapter(tuned, make_model, make_llm, voxels, tmp_path):
    llm, lora = tuned
    model = make_model()
    model.llm, model.tuned = llm, lora
    names = model.set_trainable(("bridge", "llm_adapters"))
    assert any(is_adapter(name) for name in names)
    assert all(name.startswith("bridge.") or is_adapter(name) for name in names)
    assert any(is_adapter(name) for name in model.state_dict())
    save_pretrained(model, tmp_path / "model", CARD)
    again = from_pretrained(tmp_path / "model", llm=(make_llm("llama"), None))
    assert again.card.adapter == digests(tmp_path / "model" / "adapter")
    answer = IDS[:, :4].repeat(2, 1)[:3], torch.ones(3, 4, dtype=torch.bool)
    nll = [m.sequence_nll(m.prefix(voxels), IDS[0], *answer) for m in (model, again)]
    torch.testing.assert_close(*nll, **CLOSE)
    # a copy of the loaded model has the adapter too
    save_pretrained(again, tmp_path / "copy", again.card)
    third = from_pretrained(tmp_path / "copy", llm=(make_llm("llama"), None))
    assert torch.equal(third.llm(IDS).logits, again.llm(IDS).logits)
    config = json.loads((tmp_path / "copy" / "config.json").read_text())
    assert config["card"]["adapter"]


def test_brainllm_is_saved_with_its_adapter(tuned, make_llm, tmp_path):
    from fastbrain.lm.word_lm import word_tokenizer

    tokenizer = word_tokenizer(["what is it ? a ball"])
    tokenizer.pad_token = tokenizer.eos_token
    sizes = BrainLLMConfig(features=4, frames=2, position="after-prompt")
    llm, lora = tuned
    model = BrainLLM(sizes, llm=llm, text_tokenizer=tokenizer, tuned=lora)
    llm.requires_grad_(True)
    windows, mask = torch.randn(2, 2, 4), torch.ones(2, 4, dtype=torch.bool)
    prompts = IDS[:1, :3].expand(2, -1)
    # LoRA learns from the prompt as well, which is otherwise computed once without gradients
    nll = model.eval().text_nll(windows, prompts, IDS[:, 2:], mask)
    nll.sum().backward()
    first = llm.model.layers[0].self_attn.k_proj.lora_B["default"].weight.grad
    with torch.no_grad():
        torch.testing.assert_close(model.text_nll(windows, prompts, IDS[:, 2:], mask), nll)
    assert bool(first.any())
    save_brainllm(model, tmp_path / "model", BrainLLMCard(llm="somewhere/llm", tr=2.0))
    again = load_brainllm(tmp_path / "model", llm=(make_llm("llama"), tokenizer))
    # a loaded model that is saved again, as for a new person, is still of the same language model
    save_brainllm(again.model, tmp_path / "copy", again.card)
    third = load_brainllm(tmp_path / "copy", llm=(make_llm("llama"), tokenizer))
    for saved in (again, third):
        with torch.no_grad():
            found = saved.model.text_nll(windows, prompts, IDS[:, 2:], mask)
        torch.testing.assert_close(found, nll.detach(), **CLOSE)


def test_a_rank_needs_a_stage_that_trains_it():
    config = RunConfig().tuning_llm(4)
    assert config.llm_rank == 4
    assert "llm_adapters" in config.stage2.groups
    assert RunConfig.from_dict(config.to_dict()) == config
    assert config.tuning_llm(0) == RunConfig()
    with pytest.raises(ConfigError, match="llm_rank is above 0"):
        RunConfig(llm_rank=4)
    with pytest.raises(ConfigError, match="stage2 must be configured"):
        RunConfig(stage2=None).tuning_llm(4)
