"""CUDA C++ backend of the voxel tokenizer: one launch for the few tokens of a session."""

from __future__ import annotations

import torch
from torch import Tensor

from ...grid import TokenGrid
from .. import _cuda
from . import patches
from .autograd import Tokenize, fake, register

# for more tokens a launch is not bound by latency, and the larger tiles of Triton are faster
_MOST_TOKENS = 8192


def can_run(
    volumes: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    grid: TokenGrid,
    mean: Tensor | None,
    inv_std: Tensor | None,
    scale: float,
) -> str | None:
    """Return None, or the reason why the CUDA kernel cannot run the checked problem."""
    reason = _cuda.missing(weight)
    if reason is not None:
        return reason
    if weight.dtype not in _cuda.TYPES:
        return f"weight is {weight.dtype}; it takes float32, float16 and bfloat16"
    samples = volumes.shape[0] * grid.n_tokens
    if samples > _MOST_TOKENS:
        return f"there are {samples} tokens; it is meant for at most {_MOST_TOKENS}"
    return patches.too_large(grid)


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
    offsets = patches.offsets_of(grid, weight.device, torch.int32)
    fixed = [None if t is None else t.detach() for t in (volumes, mean, inv_std)]
    return Tokenize.apply("cuda", weight, bias, fixed[0], offsets, fixed[1], fixed[2], scale)


def _forward(
    volumes: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    offsets: Tensor,
    mean: Tensor | None,
    inv_std: Tensor | None,
    scale: float,
) -> Tensor:
    out = fake(volumes, weight, bias, offsets, mean, inv_std, scale)
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


def _weight_grad(
    grad: Tensor,
    volumes: Tensor,
    offsets: Tensor,
    mean: Tensor | None,
    inv_std: Tensor | None,
    scale: float,
) -> Tensor:
    return patches.weight_grad(grad, volumes, offsets, mean, inv_std, scale, grad.dtype)


_library = register("cuda", _forward, _weight_grad, _cuda.KEYS)
