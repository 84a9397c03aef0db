"""The copy of a Llama that llama.cpp reads."""

from __future__ import annotations

import copy

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

pytest.importorskip("gguf", reason="the package gguf is not installed")

from fastbrain.bench.providers.llama_cpp import write_llama


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_file_holds_the_same_model(tmp_path, dtype):
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=41, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=False,
        rope_theta=5000.0,
    )  # fmt: skip
    llm = LlamaForCausalLM(config).eval()
    with torch.no_grad():
        for weight in llm.parameters():
            weight.copy_(weight.to(dtype))
    write_llama(copy.deepcopy(llm).to(dtype), tmp_path / "model.gguf")
    read = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="model.gguf")
    ids = torch.arange(1, 9)[None]
    with torch.no_grad():
        expected, found = llm(ids).logits, read.eval()(ids).logits
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
