"""The step of the engine on a CPU: a C++ kernel over the weights of a model."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ...ops._tensors import ORDINARY
from ...ops.decoder import FewRows, LinearWeights, NormWeights, can_step
from ...ops.module_checks import untouched
from .architecture import Architecture, Norm
from .cache import Cache
from .network import Network
from .projection import Branch, Projection
from .rows import Step

# how the step holds the weights; "model" is as the model does
WEIGHTS = ("model", "bfloat16", "int8")


def reason_against_kernel(net: Architecture, weights: str = "model") -> str | None:
    """Return None, or the reason why the step must be that of PyTorch."""
    reason = can_step(net.device, net.dtype if weights == "model" else torch.float32)
    if reason is not None:
        return reason
    for projection in net.projections():
        if len({branch.activation for branch in projection.branches}) > 1:
            return "a layer has adapters with different activations"
    return None


def kernel_step(network: Network, weights: str) -> tuple[FewRows, Step]:
    """Make the kernel and the step by it; `weights` is one of :data:`WEIGHTS`."""
    net = network.net
    layers = []
    for layer in net.layers:
        tables = network.tables.get(layer.rotary)
        part: dict[str, Any] = {"scale": layer.scale, "window": layer.window or 0}
        for name in ("before_attention", "q_norm", "k_norm", "after_attention", "before_mlp"):
            part[name] = _norm(getattr(layer, name))
        part["after_mlp"] = _norm(layer.after_mlp)
        for name in ("q", "k", "v", "out", "gate", "up", "down"):
            part[name] = _linear(getattr(layer, name), weights)
        for i, name in enumerate(("cosines", "sines")):
            part[name] = None if tables is None else tables[i].float().contiguous()
        layers.append(part)
    positions, table = net.positions, _table(net.embed, net.width)
    kernel = FewRows(
        layers,
        {
            "width": net.width,
            "heads": net.heads,
            "key_heads": net.key_heads,
            "head_width": net.head_width,
            "hidden": net.layers[0].up.weight.shape[0],
            "positions": None if positions is None else positions.detach().float().contiguous(),
            "norm": _norm(net.norm),
            "head": _linear(net.head, weights),
            "activation": net.activation,
            "attention_cap": net.attention_cap or 0.0,
            "logit_cap": net.logit_cap or 0.0,
            "table": table,
        },
    )

    def step(cache: Cache, rows: list[int], tokens: list[int]) -> Tensor:
        lengths = [cache.lengths[row] for row in rows]
        embeds = None
        if table is None:
            embeds = net.embed(torch.tensor(tokens, device="cpu")).float().contiguous()
        return kernel.step(tokens, embeds, rows, lengths, cache.keys, cache.values)

    return kernel, step


def _table(embed: Any, width: int) -> Tensor | None:
    """Return the embeddings (vocabulary, width) if looking them up is all that a module does."""
    if type(embed) is not nn.Embedding or embed.max_norm is not None or not untouched(embed):
        return None
    weight = embed.weight
    held = type(weight) in ORDINARY and weight.dtype in (torch.float32, torch.bfloat16)
    dense = held and weight.is_contiguous() and weight.shape[1] == width
    return weight.detach() if dense else None


def _norm(norm: Norm | None) -> NormWeights | None:
    if norm is None:
        return None
    bias = None if norm.bias is None else norm.bias.contiguous()
    return NormWeights(norm.weight.contiguous(), bias, norm.eps)


def _linear(projection: Projection | None, weights: str) -> LinearWeights | None:
    if projection is None:
        return None
    weight, row_scale = projection.weight, None
    if weights == "bfloat16":
        weight = weight.bfloat16()
    elif weights == "int8":
        weight, row_scale = quantised(weight)
    bias = None if projection.bias is None else projection.bias.float().contiguous()
    a, b, activation = _joined(projection.branches)
    return LinearWeights(weight.contiguous(), row_scale, bias, a, b, 1.0, activation)


def _joined(branches: tuple[Branch, ...]) -> tuple[Tensor | None, Tensor | None, str | None]:
    """Several branches of one activation as one, with the scales in B."""
    if not branches:
        return None, None, None
    a = torch.cat([branch.a.float() for branch in branches])
    b = torch.cat([branch.scale * branch.b.float() for branch in branches], dim=1)
    return a.contiguous(), b.contiguous(), branches[0].activation


def quantised(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Round a weight (d_out, d_in) to int8 with a factor (d_out,) float32 for each row."""
    scale = weight.float().abs().amax(dim=1).clamp_min(1e-30) / 127.0
    return (weight.float() / scale[:, None]).round().to(torch.int8), scale
