"""CUDA C++ backend of the voxel tokenizer: one launch for the few tokens of a session."""

from __future__ import annotations

import torch
from torch import Tensor

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


def call(problem: TokenizeProblem) -> Tensor:
    """Tokenize on the GPU, with gradients for weight and bias."""
    offsets = patches.offsets_of(problem.grid, problem.weight.device, torch.int32)
    return tokenize("cuda", problem, patches.stored(problem, offsets))


def _forward(weight: Tensor, bias: Tensor | None, values: StoredValues) -> Tensor:
    out = tokens_like(weight, values)
    weight, bias, volumes, offsets, mean, inv_std, scale = contiguous(weight, bias, *values)
    _cuda.launch(
        "voxel_tokenizer_cuda",
        weight,
        volumes=address(volumes),
        volume_type=DTYPES[volumes.dtype],
        weight=address(weight),
        weight_type=DTYPES[weight.dtype],
        bias=address(bias),
        offsets=address(offsets),
        mean=address(mean),
        inv_std=address(inv_std),
        out=address(out),
        packed=(volumes.dim() == 4, *(t is not None and t.dim() == 2 for t in (mean, inv_std))),
        voxels=volumes.shape[2:].numel(),
        sizes=(*volumes.shape[:2], *offsets.shape, len(weight)),
        scale=scale,
    )
    return out


def _weight_grad(grad: Tensor, values: StoredValues) -> Tensor:
    return patches.weight_grad(grad, values, grad.dtype)


_library = register("cuda", _forward, _weight_grad, _cuda.KEYS)
