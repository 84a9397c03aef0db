"""Tiny models: fixtures that the folders of several systems import."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from fastbrain import TokenGrid
from fastbrain.llm4brain import (
    AdapterConfig,
    EncoderConfig,
    LLM4Brain,
    LLM4BrainConfig,
    QFormerConfig,
    VideoConfig,
)

VOCABULARY = 53


@pytest.fixture(scope="session")
def grid() -> TokenGrid:
    """5 × 7 × 6 voxels with a corner cut off, patches of 3 × 2 × 2."""
    mask = np.ones((5, 7, 6), dtype=bool)
    mask[:3, :3, :3] = False
    return TokenGrid.from_mask(mask, (3, 2, 2))


@pytest.fixture(scope="session")
def centers(grid: TokenGrid) -> np.ndarray:
    return grid.centers(np.diag([3.0, 3.0, 4.0, 1.0]))


@pytest.fixture(scope="session")
def small_config() -> LLM4BrainConfig:
    return LLM4BrainConfig(
        frames=2,
        encoder=EncoderConfig(dim=24, depth=2, heads=3, decoder_dim=12, decoder_heads=2),
        qformer=QFormerConfig(dim=20, depth=1, heads=2, n_queries=5),
        video=VideoConfig(frames=2, size=8, patch=4, dim=18, depth=1, heads=2),
        adapter=AdapterConfig(rank=3),
        n_classes=4,
    )


def tiny_llm(kind: str) -> Any:
    """A random causal LM of a real architecture, a few kilobytes large."""
    from transformers import (
        Gemma2Config,
        Gemma2ForCausalLM,
        GPT2Config,
        GPT2LMHeadModel,
        LlamaConfig,
        LlamaForCausalLM,
        Qwen2Config,
        Qwen2ForCausalLM,
    )

    sizes = {
        "vocab_size": VOCABULARY,
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
    }
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if kind == "gpt2":
            config = GPT2Config(vocab_size=VOCABULARY, n_embd=16, n_layer=2, n_head=2)
            return GPT2LMHeadModel(config).eval()
        if kind == "qwen2":
            return Qwen2ForCausalLM(Qwen2Config(**sizes)).eval()
        if kind == "gemma2":
            # a cap this low changes every logit
            config = Gemma2Config(**sizes, head_dim=8, final_logit_softcapping=0.5)
            return Gemma2ForCausalLM(config).eval()
        return LlamaForCausalLM(LlamaConfig(**sizes)).eval()


@pytest.fixture
def make_llm() -> Callable[[str], Any]:
    """Factory: ``make_llm("llama")``; see :func:`tiny_llm`."""
    return tiny_llm


@pytest.fixture
def make_model(
    grid: TokenGrid, centers: np.ndarray, small_config: LLM4BrainConfig
) -> Callable[..., LLM4Brain]:
    """Factory: ``make_model(kind="llama", config=None, **LLM4Brain options)``."""

    def make(kind: str = "llama", config: LLM4BrainConfig | None = None, **options) -> LLM4Brain:
        torch.manual_seed(1)
        return LLM4Brain(
            config or small_config, grid=grid, centers_mm=centers, llm=tiny_llm(kind), **options
        ).eval()

    return make


@pytest.fixture
def voxels(grid: TokenGrid) -> torch.Tensor:
    """Three windows of int16, patch-major."""
    generator = torch.Generator().manual_seed(2)
    shape = (3, 2, grid.n_tokens, grid.patch_voxels)
    return torch.randint(-300, 300, shape, dtype=torch.int16, generator=generator)
