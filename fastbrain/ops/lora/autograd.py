"""Registration and gradient of adapted layers.

Two implementations exist: PyTorch matmuls and the Triton kernels. Each is a pair of functions and
is registered as two operators, opaque to torch.compile, with fake implementations for shapes. Eager
code calls the functions directly, which for a single row saves the time of a small product.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from .._dispatch import any_gradient
from .products import Gradients, side_by_side

_library = torch.library.Library("fastbrain", "FRAGMENT")


class Pair(NamedTuple):
    """Forward and gradient functions of an adapted layer, as in :mod:`.products`."""

    forward: Callable[..., tuple[Tensor, Tensor]]
    gradients: Callable[..., Gradients]


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
    operands = "Tensor x, Tensor weight"
    adapters = "Tensor[] a, Tensor[] b"
    options = "SymInt[] rows, float scale, str activation"
    _library.define(
        f"lora_{name}({operands}, Tensor? bias, {adapters}, {options}) -> (Tensor, Tensor)"
    )
    _library.define(
        f"lora_{name}_gradients(Tensor grad, {operands}, {adapters}, Tensor low, {options}, "
        "bool[] wanted) -> (Tensor, Tensor, Tensor, Tensor, Tensor[])"
    )
    for key in keys:
        _library.impl(f"lora_{name}", pair.forward, key)
        _library.impl(f"lora_{name}_gradients", partial(_as_operator, pair.gradients), key)
    torch.library.register_fake(f"fastbrain::lora_{name}", _fake_forward, lib=_library)
    torch.library.register_fake(f"fastbrain::lora_{name}_gradients", _fake_gradients, lib=_library)
    _pairs[name] = pair


def adapted(
    name: str,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    a: Sequence[Tensor],
    b: Sequence[Tensor],
    rows: Sequence[int],
    scale: float,
    activation: str | None,
) -> Tensor:
    """Map ``x (..., d_in)`` to ``(..., d_out)`` with the pair `name`; supports gradients."""
    flat = x if x.dim() == 2 else x.reshape(-1, x.shape[-1])
    arguments = (flat, weight, bias, *a, *b)
    if any_gradient(*arguments):
        y = _Adapted.apply(name, rows, scale, activation or "", *arguments)
    else:
        y = _pair(name).forward(flat, weight, bias, a, b, rows, scale, activation or "")[0]
    return y if x.dim() == 2 else y.reshape(*x.shape[:-1], weight.shape[0])


def _pair(name: str) -> Pair:
    if torch.compiler.is_compiling():
        ops = torch.ops.fastbrain
        return Pair(getattr(ops, f"lora_{name}"), getattr(ops, f"lora_{name}_gradients"))
    return _pairs[name]


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
        y, _ = _pair(name).forward(x, weight, bias, a, b, rows, scale, activation)
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
        *wide, grad_a, grad_b = _pair(name).gradients(
            grad.contiguous(), x, weight, a, b, low, rows, scale, activation, wanted
        )
        if grad_a is None or not wanted[3]:
            each_a: Sequence[Tensor | None] = [None] * count
        else:
            each_a = [grad_a] if count == 1 else grad_a.split([w.shape[0] for w in a])
        each_b = [None] * count if grad_b is None else grad_b
        found = (*wide, *each_a, *each_b)
        needed = ctx.needs_input_grad[4:]
        kept = [t if need else None for t, need in zip(found, needed, strict=True)]
        return None, None, None, None, *kept


def _as_operator(gradients: Callable[..., Gradients], *arguments: Any) -> tuple[Any, ...]:
    """Convert gradients to operator outputs: an empty tensor for each one not requested."""
    *wide, grad_b = gradients(*arguments)
    nothing = arguments[1].new_empty
    some = [nothing(0) if t is None else t for t in wide]
    return *some, [nothing(0) for _ in arguments[4]] if grad_b is None else grad_b


def _fake_forward(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    a: Sequence[Tensor],
    b: Sequence[Tensor],
    rows: Sequence[int],
    scale: float,
    activation: str,
) -> tuple[Tensor, Tensor]:
    rank = sum(w.shape[0] for w in a)
    return x.new_empty(x.shape[0], weight.shape[0]), x.new_empty(x.shape[0], rank)


def _fake_gradients(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    a: Sequence[Tensor],
    b: Sequence[Tensor],
    low: Tensor,
    rows: Sequence[int],
    scale: float,
    activation: str,
    wanted: Sequence[bool],
) -> tuple[Tensor, Tensor, Tensor, Tensor, list[Tensor]]:
    def like(wanted: bool, *shape: int) -> Tensor:
        return x.new_empty(*shape) if wanted else x.new_empty(0)

    return (
        like(wanted[0], *x.shape),
        like(wanted[1], *weight.shape),
        like(wanted[2], weight.shape[0]),
        like(wanted[3], low.shape[1], x.shape[1]),
        [like(wanted[4], *w.shape) for w in b],
    )
