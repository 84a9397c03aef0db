"""Triton backend of the voxel tokenizer, with its registration and gradient."""

from __future__ import annotations

import torch
from torch import Tensor

from ...grid import TokenGrid
from .. import _triton
from . import patches
from .autograd import Tokenize, register


def can_run(
    volumes: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    grid: TokenGrid,
    mean: Tensor | None,
    inv_std: Tensor | None,
    scale: float,
) -> str | None:
    """Return None, or the reason why the Triton kernel cannot run the checked problem."""
    return _triton.unread("weight", weight) or patches.too_large(grid)


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
    if mean is not None and inv_std is not None and mean.dim() != inv_std.dim():
        # the kernel reads both with the same table of offsets
        fixed[1:] = (
            torch.where(offsets >= 0, patches.gather(t.detach(), offsets), 0)
            for t in (mean, inv_std)
        )
    return Tokenize.apply("triton", weight, bias, fixed[0], offsets, fixed[1], fixed[2], scale)


def _forward(
    volumes: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    offsets: Tensor,
    mean: Tensor | None,
    inv_std: Tensor | None,
    scale: float,
) -> Tensor:
    # imported here, so that only a call that needs Triton imports it
    from ...kernels import voxel_tokenizer as kernels

    return kernels.forward(
        volumes.contiguous(),
        weight.contiguous(),
        _contiguous(bias),
        offsets.contiguous(),
        _contiguous(mean),
        _contiguous(inv_std),
        scale,
        exact=_triton.INTERPRETED,
    )


def _weight_grad(
    grad: Tensor,
    volumes: Tensor,
    offsets: Tensor,
    mean: Tensor | None,
    inv_std: Tensor | None,
    scale: float,
) -> Tensor:
    from ...kernels import voxel_tokenizer as kernels

    return kernels.backward(
        grad.contiguous(),
        volumes.contiguous(),
        offsets.contiguous(),
        _contiguous(mean),
        _contiguous(inv_std),
        scale,
        exact=_triton.INTERPRETED,
    )


def _contiguous(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.contiguous()


_library = register("triton", _forward, _weight_grad, _triton.KEYS)
