"""Registration and gradient of the GPU backends; the backward pass reads raw values again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .checks import StoredValues, TokenizeProblem


def tokenize(kind: str, problem: TokenizeProblem, values: StoredValues) -> Tensor:
    """Compute the tokens by the operators of a kind, with gradients for weight and bias."""
    return _Tokenize.apply(kind, problem.weight, problem.bias, *values)


class _Tokenize(torch.autograd.Function):
    """Operator ``tokenize_voxels_<kind>`` with ``tokenize_voxels_<kind>_grad`` for the weight.

    The gradient of the weight is (D, F·P) float32; that of the bias is a sum over windows and
    tokens.
    """

    @staticmethod
    def forward(ctx: Any, kind: str, weight: Tensor, bias: Tensor | None, *stored: Any) -> Tensor:
        *tensors, ctx.scale = stored
        ctx.save_for_backward(*tensors)
        ctx.kind, ctx.shape, ctx.dtype = kind, weight.shape, weight.dtype
        return getattr(torch.ops.fastbrain, f"tokenize_voxels_{kind}")(weight, bias, *stored)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        grad_weight = grad_bias = None
        if ctx.needs_input_grad[1]:
            backward = getattr(torch.ops.fastbrain, f"tokenize_voxels_{ctx.kind}_grad")
            total = backward(grad, *ctx.saved_tensors, ctx.scale)
            grad_weight = total.to(ctx.dtype).reshape(ctx.shape)
        if ctx.needs_input_grad[2]:
            grad_bias = grad.sum(dim=(0, 1))
        return None, grad_weight, grad_bias, None, None, None, None, None


_STORED = "Tensor volumes, Tensor offsets, Tensor? mean, Tensor? inv_std, float scale"


def register(
    kind: str,
    forward: Callable[[Tensor, Tensor | None, StoredValues], Tensor],
    weight_grad: Callable[[Tensor, StoredValues], Tensor],
    keys: tuple[str, ...],
) -> torch.library.Library:
    """Define the two operators of a kind for some dispatch keys; return their library object."""

    def call(weight: Tensor, bias: Tensor | None, *stored: Any) -> Tensor:
        return forward(weight, bias, StoredValues(*stored))

    def call_grad(grad: Tensor, *stored: Any) -> Tensor:
        return weight_grad(grad, StoredValues(*stored))

    def shape(weight: Tensor, bias: Tensor | None, *stored: Any) -> Tensor:
        return tokens_like(weight, StoredValues(*stored))

    def shape_grad(grad: Tensor, *stored: Any) -> Tensor:
        values = StoredValues(*stored)
        inner = values.volumes.shape[1] * values.offsets.shape[1]
        return grad.new_empty(grad.shape[-1], inner, dtype=torch.float32)

    library = torch.library.Library("fastbrain", "FRAGMENT")
    name = f"tokenize_voxels_{kind}"
    library.define(f"{name}(Tensor weight, Tensor? bias, {_STORED}) -> Tensor")
    library.define(f"{name}_grad(Tensor grad, {_STORED}) -> Tensor")
    for key in keys:
        library.impl(name, call, key)
        library.impl(f"{name}_grad", call_grad, key)
    torch.library.register_fake(f"fastbrain::{name}", shape, lib=library)
    torch.library.register_fake(f"fastbrain::{name}_grad", shape_grad, lib=library)
    return library


def tokens_like(weight: Tensor, values: StoredValues) -> Tensor:
    """Return an empty tensor (B, n_tokens, D) for the tokens."""
    # no len(): it would fix a size that torch.compile keeps symbolic
    return weight.new_empty(values.volumes.shape[0], values.offsets.shape[0], weight.shape[0])
