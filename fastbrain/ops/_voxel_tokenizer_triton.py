"""The Triton backend of the voxel tokenizer, its torch registration and its gradient."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..grid import TokenGrid
from . import _patches

_HAS_TRITON = find_spec("triton") is not None
# Triton reads it when it is imported; then its kernels run on CPU tensors, slowly
_INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
_DTYPES = (torch.float32, torch.float16, torch.bfloat16)

_library = torch.library.Library("fastbrain", "FRAGMENT")
_library.define(
    "voxel_tokenizer_gather(Tensor volumes, Tensor weight, Tensor? bias, Tensor offsets, "
    "Tensor? mean, Tensor? inv_std, float scale) -> Tensor"
)
_library.define(
    "voxel_tokenizer_gather_grad(Tensor grad, Tensor volumes, Tensor offsets, Tensor? mean, "
    "Tensor? inv_std, float scale) -> Tensor"
)


def can_run(
    volumes: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    grid: TokenGrid,
    mean: Tensor | None,
    inv_std: Tensor | None,
    scale: float,
) -> str | None:
    """None, or why the Triton kernel cannot take a checked problem."""
    if not _HAS_TRITON:
        return "triton is not installed"
    if weight.device.type != "cuda" and not (_INTERPRETED and weight.device.type == "cpu"):
        return f"the tensors are on {weight.device}"
    if weight.dtype not in _DTYPES:
        return f"weight is {weight.dtype}; it takes float32, float16 and bfloat16"
    voxels = max(grid.mask.size, grid.n_tokens * grid.patch_voxels)
    if voxels >= 1 << 31:
        return f"a volume has {voxels} elements; it counts them in 32 bits"
    return None


def call(
    volumes: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    grid: TokenGrid,
    mean: Tensor | None,
    inv_std: Tensor | None,
    scale: float,
) -> Tensor:
    """Tokenize on the GPU, with gradients for weight and bias."""
    offsets = _patches.offsets_of(grid, weight.device, torch.int32)
    fixed = [None if t is None else t.detach() for t in (volumes, mean, inv_std)]
    if mean is not None and inv_std is not None and mean.dim() != inv_std.dim():
        # the kernel reads both by one table
        fixed[1:] = (
            torch.where(offsets >= 0, _patches.gather(t.detach(), offsets), 0)
            for t in (mean, inv_std)
        )
    return _Tokenize.apply(weight, bias, fixed[0], offsets, fixed[1], fixed[2], scale)


class _Tokenize(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        weight: Tensor,
        bias: Tensor | None,
        volumes: Tensor,
        offsets: Tensor,
        mean: Tensor | None,
        inv_std: Tensor | None,
        scale: float,
    ) -> Tensor:
        ctx.save_for_backward(volumes, offsets, mean, inv_std)
        ctx.scale, ctx.shape, ctx.dtype = scale, weight.shape, weight.dtype
        return torch.ops.fastbrain.voxel_tokenizer_gather(
            volumes, weight, bias, offsets, mean, inv_std, scale
        )

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        volumes, offsets, mean, inv_std = ctx.saved_tensors
        grad_weight = grad_bias = None
        if ctx.needs_input_grad[0]:
            total = torch.ops.fastbrain.voxel_tokenizer_gather_grad(
                grad, volumes, offsets, mean, inv_std, ctx.scale
            )
            grad_weight = total.to(ctx.dtype).reshape(ctx.shape)
        if ctx.needs_input_grad[1]:
            grad_bias = grad.sum(dim=(0, 1))
        return grad_weight, grad_bias, None, None, None, None, None


def _forward(
    volumes: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    offsets: Tensor,
    mean: Tensor | None,
    inv_std: Tensor | None,
    scale: float,
) -> Tensor:
    # triton is imported by the first call that needs it
    from ..kernels import voxel_tokenizer as kernels

    return kernels.forward(
        volumes.contiguous(),
        weight.contiguous(),
        _contiguous(bias),
        offsets.contiguous(),
        _contiguous(mean),
        _contiguous(inv_std),
        scale,
        exact=_INTERPRETED,
    )


def _weight_grad(
    grad: Tensor,
    volumes: Tensor,
    offsets: Tensor,
    mean: Tensor | None,
    inv_std: Tensor | None,
    scale: float,
) -> Tensor:
    from ..kernels import voxel_tokenizer as kernels

    return kernels.backward(
        grad.contiguous(),
        volumes.contiguous(),
        offsets.contiguous(),
        _contiguous(mean),
        _contiguous(inv_std),
        scale,
        exact=_INTERPRETED,
    )


def _contiguous(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.contiguous()


def _fake(
    volumes: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    offsets: Tensor,
    mean: Tensor | None,
    inv_std: Tensor | None,
    scale: float,
) -> Tensor:
    return weight.new_empty(volumes.shape[0], offsets.shape[0], weight.shape[0])


def _fake_grad(
    grad: Tensor,
    volumes: Tensor,
    offsets: Tensor,
    mean: Tensor | None,
    inv_std: Tensor | None,
    scale: float,
) -> Tensor:
    inner = volumes.shape[1] * offsets.shape[1]
    return grad.new_empty(grad.shape[-1], inner, dtype=torch.float32)


for _key in ("CUDA", "CPU") if _INTERPRETED else ("CUDA",):
    _library.impl("voxel_tokenizer_gather", _forward, _key)
    _library.impl("voxel_tokenizer_gather_grad", _weight_grad, _key)
torch.library.register_fake("fastbrain::voxel_tokenizer_gather", _fake, lib=_library)
torch.library.register_fake("fastbrain::voxel_tokenizer_gather_grad", _fake_grad, lib=_library)
