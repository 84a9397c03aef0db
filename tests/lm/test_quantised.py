"""Language models in 8 bits: near the whole ones, with gradients to their inputs."""

from __future__ import annotations

import importlib.util

import pytest
import torch
from nonzero_adapters import nonzero_lora

from fastbrain.errors import ConfigError, MissingPartError
from fastbrain.lm.loading import llm_fingerprint, load_llm, model_digest
from fastbrain.lm.lora import TunedLLM, merge_adapter
from fastbrain.lm.quantised import is_quantised, quantisation
from fastbrain.lm.word_lm import word_tokenizer

needs_torchao = pytest.mark.skipif(
    importlib.util.find_spec("torchao") is None, reason="torchao is not installed"
)
IDS = torch.arange(10)[None]


@pytest.fixture
def folder(make_llm, tmp_path):
    make_llm("llama").save_pretrained(tmp_path)
    word_tokenizer(["a ball"]).save_pretrained(tmp_path)
    return str(tmp_path)


def test_what_cannot_be_quantised_is_refused(monkeypatch):
    with pytest.raises(ConfigError, match="bits must be 8 or 4, got 3"):
        quantisation(3, "cpu")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingPartError, match=r"fastbrain-fmri\[quantised\]"):
        quantisation(8, "cpu")


@needs_torchao
def test_eight_bits_are_near_and_pass_gradients(folder, tmp_path):
    whole, small = (load_llm(folder, bits=bits)[0] for bits in (None, 8))
    assert is_quantised(small)
    assert not is_quantised(whole)
    assert llm_fingerprint(small) == llm_fingerprint(whole)
    assert model_digest(small) == model_digest(load_llm(folder, bits=8)[0]) != model_digest(whole)
    given = whole.get_input_embeddings()(IDS).detach().requires_grad_(True)
    exact, near = whole(inputs_embeds=given).logits, small(inputs_embeds=given).logits
    assert not torch.equal(exact, near)
    # a step of 1/127 of the largest weight of a row, in four linear layers
    torch.testing.assert_close(near, exact, rtol=0.05, atol=0.05 * float(exact.abs().max()))
    near.sum().backward()
    assert bool(given.grad.abs().sum() > 0)
    # an adapter stays beside weights that cannot hold the sum
    tuned = TunedLLM(small, 2)
    nonzero_lora(small)
    files = tuned.save(tmp_path / "adapter")
    again = load_llm(folder, bits=8)[0]
    again = merge_adapter(again, tmp_path / "adapter", files, function="test")
    torch.testing.assert_close(again(IDS).logits, small(IDS).logits)
