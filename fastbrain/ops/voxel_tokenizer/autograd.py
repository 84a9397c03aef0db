"""Registration and gradient of the GPU backends; the backward pass reads raw values again."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class Tokenize(torch.autograd.Function):
    """Operator ``voxel_tokenizer_<kind>`` with ``voxel_tokenizer_<kind>_grad`` for the weight.

    The gradient of the weight is (D, F·P) float32; that of the bias is a sum over windows and
    tokens.
    """

    @staticmethod
    def forward(
        ctx: Any,
        kind: str,
        weight: Tensor,
        bias: Tensor | None,
        volumes: Tensor,
        offsets: Tensor,
        mean: Tensor | None,
        inv_std: Tensor | None,
        scale: float,
    ) -> Tensor:
        """Compute the tokens."""
        ctx.save_for_backward(volumes, offsets, mean, inv_std)
        ctx.kind, ctx.scale, ctx.shape, ctx.dtype = kind, scale, weight.shape, weight.dtype
        forward = getattr(torch.ops.fastbrain, f"tokenize_voxels_{kind}")
        return forward(volumes, weight, bias, offsets, mean, inv_std, scale)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Compute the gradients of weight and bias."""
        volumes, offsets, mean, inv_std = ctx.saved_tensors
        grad_weight = grad_bias = None
        if ctx.needs_input_grad[1]:
            backward = getattr(torch.ops.fastbrain, f"tokenize_voxels_{ctx.kind}_grad")
            total = backward(grad, volumes, offsets, mean, inv_std, ctx.scale)
            grad_weight = total.to(ctx.dtype).reshape(ctx.shape)
        if ctx.needs_input_grad[2]:
            grad_bias = grad.sum(dim=(0, 1))
        return None, grad_weight, grad_bias, None, None, None, None, None


def fake(
    volumes: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    offsets: Tensor,
    mean: Tensor | None,
    inv_std: Tensor | None,
    scale: float,
) -> Tensor:
    """Return an empty tensor with the shape of the tokens."""
    return weight.new_empty(volumes.shape[0], offsets.shape[0], weight.shape[0])


def fake_grad(
    grad: Tensor,
    volumes: Tensor,
    offsets: Tensor,
    mean: Tensor | None,
    inv_std: Tensor | None,
    scale: float,
) -> Tensor:
    """Return an empty tensor with the shape of the gradient of the weight."""
    inner = volumes.shape[1] * offsets.shape[1]
    return grad.new_empty(grad.shape[-1], inner, dtype=torch.float32)


SCHEMA = (
    "(Tensor volumes, Tensor weight, Tensor? bias, Tensor offsets, Tensor? mean, "
    "Tensor? inv_std, float scale) -> Tensor"
)
SCHEMA_GRAD = (
    "(Tensor grad, Tensor volumes, Tensor offsets, Tensor? mean, Tensor? inv_std, float scale) "
    "-> Tensor"
)


def register(kind: str, forward: Any, backward: Any, keys: tuple[str, ...]) -> Any:
    """Define the two operators of a kind for some dispatch keys; return their library object."""
    library = torch.library.Library("fastbrain", "FRAGMENT")
    for name, schema, call, shape in (
        (f"tokenize_voxels_{kind}", SCHEMA, forward, fake),
        (f"tokenize_voxels_{kind}_grad", SCHEMA_GRAD, backward, fake_grad),
    ):
        library.define(name + schema)
        for key in keys:
            library.impl(name, call, key)
        torch.library.register_fake(f"fastbrain::{name}", shape, lib=library)
    return library
