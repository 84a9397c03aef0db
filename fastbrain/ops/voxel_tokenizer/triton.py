"""Triton backend of the voxel tokenizer, with its registration and gradient."""

from __future__ import annotations

import torch
from torch import Tensor

from .. import _triton
from .._tensors import contiguous
from . import patches
from .autograd import register, tokenize
from .checks import StoredValues, TokenizeProblem


def can_run(problem: TokenizeProblem) -> str | None:
    """Return None, or the reason why the Triton kernel cannot run the checked problem."""
    return _triton.unread("weight", problem.weight) or patches.too_large(problem.grid)


def call(problem: TokenizeProblem) -> Tensor:
    """Tokenize on the GPU, with gradients for weight and bias."""
    offsets = patches.offsets_of(problem.grid, problem.weight.device, torch.int32)
    values = patches.stored(problem, offsets)
    mean, inv_std = values.mean, values.inv_std
    if mean is not None and inv_std is not None and mean.dim() != inv_std.dim():
        # the kernel reads both with the same table of offsets
        mean, inv_std = (
            torch.where(offsets >= 0, patches.gather(t, offsets), 0) for t in (mean, inv_std)
        )
        values = values._replace(mean=mean, inv_std=inv_std)
    return tokenize("triton", problem, values)


def _forward(weight: Tensor, bias: Tensor | None, values: StoredValues) -> Tensor:
    # imported here, so that only a call that needs Triton imports it
    from ...kernels import voxel_tokenizer as kernels

    weight, bias, *stored = contiguous(weight, bias, *values)
    values = StoredValues(*stored)
    return kernels.forward(values.volumes, weight, bias, *values[1:], exact=_triton.INTERPRETED)


def _weight_grad(grad: Tensor, values: StoredValues) -> Tensor:
    from ...kernels import voxel_tokenizer as kernels

    return kernels.backward(*contiguous(grad, *values), exact=_triton.INTERPRETED)


_library = register("triton", _forward, _weight_grad, _triton.KEYS)
