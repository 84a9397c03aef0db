"""CUDA C++ backend of the voxel tokenizer: one launch each way for the few tokens of a session."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ... import _native
from .. import _cuda
from .._tensors import DTYPES, GPU_FLOATS, address, contiguous
from . import patches
from .autograd import register, tokenize, tokens_like
from .checks import StoredValues, TokenizeProblem

# for more tokens a launch is not bound by latency, and the larger tiles of Triton are faster
_MOST_TOKENS = 8192


def can_run(problem: TokenizeProblem) -> str | None:
    """Return None, or the reason why the CUDA kernel cannot run the checked problem."""
    weight = problem.weight
    reason = _cuda.missing(weight)
    if reason is not None:
        return reason
    if weight.dtype not in GPU_FLOATS:
        return f"weight is {weight.dtype}; it takes float32, float16 and bfloat16"
    samples = problem.volumes.shape[0] * problem.grid.n_tokens
    if samples > _MOST_TOKENS:
        return f"there are {samples} tokens; it is meant for at most {_MOST_TOKENS}"
    return patches.too_large(problem.grid)


def slower(problem: TokenizeProblem) -> str | None:
    """Return None, or that Triton is faster for the grid and the weight."""
    weight = problem.weight
    frames, patch = problem.volumes.shape[1], problem.grid.patch_voxels
    shape = f"{str(weight.dtype)[6:]} patch {frames}x{patch} features {weight.shape[0]}"
    return _cuda.slower("tokenize_voxels_backend", shape, weight, first="triton")


def call(problem: TokenizeProblem) -> Tensor:
    """Tokenize on the GPU, with gradients for weight and bias."""
    offsets = patches.offsets_of(problem.grid, problem.weight.device, torch.int32)
    return tokenize("cuda", problem, patches.stored(problem, offsets))


def _read(values: StoredValues, features: int) -> Any:
    """Addresses and sizes of contiguous values."""
    volumes, offsets, mean, inv_std, scale = values
    return _native.VoxelRead(
        volumes=address(volumes),
        offsets=address(offsets),
        mean=address(mean),
        inv_std=address(inv_std),
        packed=(volumes.dim() == 4, *(t is not None and t.dim() == 2 for t in (mean, inv_std))),
        voxels=volumes.shape[2:].numel(),
        sizes=(*volumes.shape[:2], *offsets.shape, features),
        scale=scale,
    )


def _forward(weight: Tensor, bias: Tensor | None, values: StoredValues) -> Tensor:
    out = tokens_like(weight, values)
    weight, bias, *kept = contiguous(weight, bias, *values)
    values = StoredValues(*kept)
    _cuda.launch(
        "voxel_tokenizer_cuda",
        weight,
        read=_read(values, len(weight)),
        volume_type=DTYPES[values.volumes.dtype],
        weight=address(weight),
        weight_type=DTYPES[weight.dtype],
        bias=address(bias),
        out=address(out),
    )
    return out


def _weight_grad(grad: Tensor, values: StoredValues) -> Tensor:
    grad, *kept = contiguous(grad, *values)
    values = StoredValues(*kept)
    inner = values.volumes.shape[1] * values.offsets.shape[1]
    out = grad.new_empty(grad.shape[-1], inner, dtype=torch.float32)
    _cuda.launch(
        "voxel_tokenizer_cuda_grad",
        grad,
        read=_read(values, grad.shape[-1]),
        volume_type=DTYPES[values.volumes.dtype],
        grad=address(grad),
        grad_type=DTYPES[grad.dtype],
        grad_weight=address(out),
    )
    return out


_library = register("cuda", _forward, _weight_grad, _cuda.KEYS)
