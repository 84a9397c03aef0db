"""Training steps of LLM4Brain and of the fMRI language model, with our kernels and without them.

A step is a forward and a backward pass of a batch, without the optimiser. The other way is the same
model with the op's reference implementations in PyTorch (``fastbrain.backend("reference")``), and
gives the same gradient. Windows a second are `windows` over the time of a step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ... import TokenGrid
from ...llm4brain import EncoderConfig, LLM4Brain, LLM4BrainConfig, QFormerConfig
from ...llm4brain.encoder import MaskedAutoencoder
from ...llm4brain.standalone_encoder import BrainEncoder
from ...ops import backend
from ...vqlm import QuantiserConfig, VQAutoencoder, VQAutoencoderConfig
from ...vqlm.training import CodedSeries, SeriesBatch, VQStageConfig, start_codebook
from ..registry import OURS, Entry, Problem, Setting, relative
from .tokenizing import brain_mask

WINDOWS, FRAMES = 8, 4
_VOCABULARY, _WIDTH, _DEPTH = 8192, 256, 4
_ENCODER = EncoderConfig(dim=192, depth=4, heads=6, decoder_dim=96, decoder_heads=6)


def _problem(
    setting: Setting, model: nn.Module, loss: Callable[[], Tensor], first: Tensor, tokens: int
) -> Problem:
    """The answer is the gradient of `first`, the weight farthest from the loss."""
    # a step may change them, as the quantiser does its codebook
    kept = [(buffer, buffer.clone()) for buffer in model.buffers()]

    def step() -> Tensor:
        with torch.no_grad():
            for buffer, value in kept:
                buffer.copy_(value)
        model.zero_grad(set_to_none=True)
        torch.manual_seed(0)  # of masks
        loss().backward()
        assert first.grad is not None
        return first.grad

    def without_kernels() -> Tensor:
        with backend("reference"):
            return step()

    truth = without_kernels().clone()
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return Problem(
        providers={OURS: step, f"{OURS}-reference": without_kernels},
        error=lambda _name, got: relative(got, truth),
        limit=1e-3,
        # products with the weights: forward, and backward to inputs and weights
        flops=6.0 * trained * tokens,
        traffic=3.0 * 4.0 * trained,
        facts={"windows": WINDOWS, "tokens": tokens, "parameters": trained},
    )


def _grid() -> tuple[TokenGrid, np.ndarray, Tensor]:
    grid = TokenGrid.from_mask(brain_mask((36, 44, 36))[0], (6, 6, 6))
    generator = torch.Generator().manual_seed(0)
    shape = (WINDOWS, FRAMES, grid.n_tokens, grid.patch_voxels)
    voxels = torch.randint(-3000, 3000, shape, dtype=torch.int16, generator=generator)
    return grid, grid.centers(np.diag([4.0, 4.0, 4.0, 1.0])), voxels


def scmbm(setting: Setting) -> Problem:
    """Pretraining of the encoder: three tokens of four are hidden and reconstructed."""
    torch.manual_seed(0)
    grid, centers, voxels = _grid()
    brain = BrainEncoder(_ENCODER, grid=grid, frames=FRAMES, centers_mm=centers, scale=1e-3)
    model = MaskedAutoencoder(brain.tokenizer, brain.encoder, centers).to(setting.device)
    voxels = voxels.to(setting.device)
    first = model.tokenizer.weight
    return _problem(setting, model, lambda: model(voxels), first, WINDOWS * grid.n_tokens)


def answers(setting: Setting) -> Problem:
    """Instruction tuning: windows to latents, and the answer loss of a frozen language model."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    grid, centers, voxels = _grid()
    llm = LlamaForCausalLM(
        LlamaConfig(
            hidden_size=_WIDTH,
            num_hidden_layers=_DEPTH,
            num_attention_heads=_WIDTH // 64,
            intermediate_size=4 * _WIDTH,
            vocab_size=_VOCABULARY,
        )
    )
    config = LLM4BrainConfig(
        frames=FRAMES,
        encoder=_ENCODER,
        qformer=QFormerConfig(dim=192, depth=2, heads=6, n_queries=16),
    )
    model = LLM4Brain(config, grid=grid, centers_mm=centers, llm=llm, scale=1e-3)
    model.set_trainable(["tokenizer", "encoder", "qformer", "projection"])
    model = model.to(setting.device)
    voxels = voxels.to(setting.device)
    prompts, texts = (
        torch.randint(3, _VOCABULARY, (WINDOWS, length)).to(setting.device) for length in (12, 16)
    )
    mask = torch.ones_like(texts, dtype=torch.bool)

    def loss() -> Tensor:
        prefix = model.projection(model.brain_latents(voxels))
        return model.answer_loss(prefix, prompts, texts, mask)

    return _problem(setting, model, loss, model.tokenizer.weight, WINDOWS * grid.n_tokens)


def coder(setting: Setting) -> Problem:
    """The VQ autoencoder on series of 50 regions, with the update of its codebook."""
    torch.manual_seed(0)
    regions, frames = 50, 120
    config = VQAutoencoderConfig(
        regions=regions, dim=128, depth=4, heads=4, quantiser=QuantiserConfig(codes=1024, dim=32)
    )
    scale: dict[str, Any] = {"center": torch.zeros(regions), "spread": torch.ones(regions)}
    model = VQAutoencoder(config, **scale)
    objective = CodedSeries(model, VQStageConfig(), steps=100).to(setting.device)
    batch = SeriesBatch(
        torch.randn(WINDOWS, regions, frames), None, tuple(f"run:{i}" for i in range(WINDOWS))
    )
    start_codebook(model, [batch] * 4)
    tokens = WINDOWS * regions * frames // config.patch
    first = model.embed.weight
    return _problem(setting, objective, lambda: objective(batch)["loss"], first, tokens)


PROVIDERS = (OURS, f"{OURS}-reference")


def _entry(op: str, case: str, build: Callable[[Setting], Problem]) -> Entry:
    options: dict[str, Any] = {"precision": "float32", "graph": False}
    return Entry(op, case, build, 5, **options)


ENTRIES = [
    _entry("scmbm_step", "b8-4mm", scmbm),
    _entry("llm4brain_step", "b8-4mm", answers),
    _entry("vq_autoencoder_step", "b8-r50-t120", coder),
]
