"""The CUDA C++ backend of the voxel tokenizer: one launch for the few tokens of a session."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..grid import TokenGrid
from . import _cuda, _patches

# beyond this a launch is no longer bound by latency, and the larger tiles of Triton pay
_MOST_TOKENS = 8192

_library = torch.library.Library("fastbrain", "FRAGMENT")
_library.define(
    "voxel_tokenizer_single(Tensor volumes, Tensor weight, Tensor? bias, Tensor offsets, "
    "Tensor? mean, Tensor? inv_std, float scale) -> Tensor"
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
    """None, or why the CUDA kernel cannot take a checked problem."""
    reason = _cuda.missing(weight)
    if reason is not None:
        return reason
    if weight.dtype not in _cuda.TYPES:
        return f"weight is {weight.dtype}; it takes float32, float16 and bfloat16"
    samples = volumes.shape[0] * grid.n_tokens
    if samples > _MOST_TOKENS:
        return f"there are {samples} tokens; it is meant for at most {_MOST_TOKENS}"
    voxels = max(grid.mask.size, grid.n_tokens * grid.patch_voxels, weight[0].numel())
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
        return torch.ops.fastbrain.voxel_tokenizer_single(
            volumes, weight, bias, offsets, mean, inv_std, scale
        )

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        volumes, offsets, mean, inv_std = ctx.saved_tensors
        grad_weight = grad_bias = None
        if ctx.needs_input_grad[0]:
            grad_weight = _patches.weight_grad(
                grad, volumes, offsets, mean, inv_std, ctx.scale, ctx.dtype
            ).reshape(ctx.shape)
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
    out = _fake(volumes, weight, bias, offsets, mean, inv_std, scale)
    kept = [
        None if t is None else t.contiguous()
        for t in (volumes, weight, bias, offsets, mean, inv_std)
    ]
    volumes, weight, bias, offsets, mean, inv_std = kept  # type: ignore[assignment]
    batch, frames = volumes.shape[:2]
    packed = (volumes.dim() == 4, mean is not None and mean.dim() == 2)
    _cuda.launch(
        "voxel_tokenizer_cuda",
        weight,
        volumes=_cuda.address(volumes),
        volume_type=_cuda.TYPES[volumes.dtype],
        weight=_cuda.address(weight),
        weight_type=_cuda.TYPES[weight.dtype],
        bias=_cuda.address(bias),
        offsets=_cuda.address(offsets),
        mean=_cuda.address(mean),
        inv_std=_cuda.address(inv_std),
        out=_cuda.address(out),
        packed=(*packed, inv_std is not None and inv_std.dim() == 2),
        voxels=volumes.shape[2:].numel(),
        sizes=(batch, frames, *offsets.shape, weight.shape[0]),
        scale=scale,
    )
    return out


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


for _key in _cuda.KEYS:
    _library.impl("voxel_tokenizer_single", _forward, _key)
torch.library.register_fake("fastbrain::voxel_tokenizer_single", _fake, lib=_library)
