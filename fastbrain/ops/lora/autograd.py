"""Registration and gradient of adapted layers.

Two implementations exist: PyTorch matmuls and the Triton kernels. Each is a pair of functions and
is registered as two operators, opaque to torch.compile, with fake implementations for shapes. Eager
code calls the functions directly, which for a single row saves the time of a small product.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from .._dispatch import any_gradient
from .products import AdaptedLayer, Gradients, side_by_side

_library = torch.library.Library("fastbrain", "FRAGMENT")


class Pair(NamedTuple):
    """Forward and gradient functions of an adapted layer, as in :mod:`.products`."""

    forward: Callable[[AdaptedLayer], tuple[Tensor, Tensor]]
    gradients: Callable[[Tensor, AdaptedLayer, Tensor, Sequence[bool]], Gradients]


_pairs: dict[str, Pair] = {}


def register(name: str, pair: Pair, keys: Sequence[str]) -> None:
    """Register a pair as operators ``fastbrain::lora_<name>`` and ``…_gradients``.

    Parameters
    ----------
    name : str
    pair : Pair
    keys : sequence of str
        Dispatch keys for which the pair is registered, ``"CPU"`` or ``"CUDA"``.
    """
    layer = (
        "Tensor x, Tensor weight, Tensor? bias, Tensor[] a, Tensor[] b, SymInt[] rows, "
        "float scale, str activation"
    )
    _library.define(f"lora_{name}({layer}) -> (Tensor, Tensor)")
    _library.define(
        f"lora_{name}_gradients(Tensor grad, {layer}, Tensor low, bool[] wanted) "
        "-> (Tensor, Tensor, Tensor, Tensor, Tensor[])"
    )

    def forward(*layer: Any) -> tuple[Tensor, Tensor]:
        return pair.forward(AdaptedLayer(*layer))

    def gradients(grad: Tensor, *arguments: Any) -> tuple[Any, ...]:
        """Return an empty tensor for each gradient that is not requested."""
        *layer, low, wanted = arguments
        *wide, grad_b = pair.gradients(grad, AdaptedLayer(*layer), low, wanted)
        some = [low.new_empty(0) if t is None else t for t in wide]
        return *some, [low.new_empty(0) for _ in layer[4]] if grad_b is None else grad_b

    for key in keys:
        _library.impl(f"lora_{name}", forward, key)
        _library.impl(f"lora_{name}_gradients", gradients, key)
    torch.library.register_fake(f"fastbrain::lora_{name}", _fake_forward, lib=_library)
    torch.library.register_fake(f"fastbrain::lora_{name}_gradients", _fake_gradients, lib=_library)
    _pairs[name] = pair


def adapted(name: str, layer: AdaptedLayer) -> Tensor:
    """Map ``x (..., d_in)`` to ``(..., d_out)`` with the pair `name`; supports gradients."""
    x, weight, bias, a, b, *options = layer
    flat = x if x.dim() == 2 else x.reshape(-1, x.shape[-1])
    tensors = (flat, weight, bias, *a, *b)
    if any_gradient(*tensors):
        y = _Adapted.apply(name, *options, *tensors)
    else:
        y = _pair(name).forward(layer._replace(x=flat))[0]
    return y if x.dim() == 2 else y.reshape(*x.shape[:-1], weight.shape[0])


def _pair(name: str) -> Pair:
    if not torch.compiler.is_compiling():
        return _pairs[name]
    forward = getattr(torch.ops.fastbrain, f"lora_{name}")
    gradients = getattr(torch.ops.fastbrain, f"lora_{name}_gradients")
    return Pair(
        lambda layer: forward(*layer),
        lambda grad, layer, low, wanted: gradients(grad, *layer, low, wanted),
    )


class _Adapted(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        name: str,
        rows: Sequence[int],
        scale: float,
        activation: str,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        *adapters: Tensor,
    ) -> Tensor:
        a, b = adapters[: len(rows)], adapters[len(rows) :]
        layer = AdaptedLayer(x, weight, bias, a, b, rows, scale, activation)
        y, _ = _pair(name).forward(layer)
        # x Aᵀ is recomputed in the backward pass: a small product of tensors that are saved anyway
        ctx.save_for_backward(x, weight, *adapters)
        ctx.options = name, rows, scale, activation
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        name, rows, scale, activation = ctx.options
        x, weight, *adapters = ctx.saved_tensors
        count = len(rows)
        a, b = adapters[:count], adapters[count:]
        low = F.linear(x, side_by_side(a))
        _, _, _, _, for_x, for_weight, for_bias, *each = ctx.needs_input_grad
        wanted = [for_x, for_weight, for_bias, any(each[:count]), any(each[count:])]
        layer = AdaptedLayer(x, weight, None, a, b, rows, scale, activation)
        *wide, grad_a, grad_b = _pair(name).gradients(grad.contiguous(), layer, low, wanted)
        if grad_a is None or not wanted[3]:
            each_a: Sequence[Tensor | None] = [None] * count
        else:
            each_a = [grad_a] if count == 1 else grad_a.split([w.shape[0] for w in a])
        each_b = [None] * count if grad_b is None else grad_b
        found = (*wide, *each_a, *each_b)
        needed = ctx.needs_input_grad[4:]
        kept = [t if need else None for t, need in zip(found, needed, strict=True)]
        return None, None, None, None, *kept


def _fake_forward(*arguments: Any) -> tuple[Tensor, Tensor]:
    layer = AdaptedLayer(*arguments)
    rows, rank = layer.x.shape[0], sum(w.shape[0] for w in layer.a)
    return layer.x.new_empty(rows, layer.weight.shape[0]), layer.x.new_empty(rows, rank)


def _fake_gradients(
    grad: Tensor, *arguments: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor, list[Tensor]]:
    *rest, low, wanted = arguments
    layer = AdaptedLayer(*rest)

    def like(wanted: bool, *shape: int) -> Tensor:
        return grad.new_empty(*shape) if wanted else grad.new_empty(0)

    return (
        like(wanted[0], *layer.x.shape),
        like(wanted[1], *layer.weight.shape),
        like(wanted[2], layer.weight.shape[0]),
        like(wanted[3], low.shape[1], layer.x.shape[1]),
        [like(wanted[4], *w.shape) for w in layer.b],
    )
