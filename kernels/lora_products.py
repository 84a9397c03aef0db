"""Adapted linear layers as products of PyTorch: candidates beside the Triton kernels."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

_FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "silu": F.silu,
    "relu": F.relu,
}


def joined(
    left: Tensor,
    right: Tensor,
    bias: Tensor | None,
    low: Tensor,
    up: Tensor,
    scale: float,
    activation: str,
    *,
    by_rows: bool,
) -> Tensor:
    """Compute ``[left | scale · act(low)] · [right | up]ᵀ (+ bias)`` as one product, (M, N).

    Left and right are copied, so that the branch lies beside them. Arguments as in
    :func:`kernels.lora.wide`.
    """
    depth, rank = left.shape[1], low.shape[1]
    both = left.new_empty(left.shape[0], depth + rank)
    both[:, :depth] = left
    both[:, depth:] = _activated(low, activation) * scale
    if by_rows:
        weights = right.new_empty(right.shape[0], depth + rank)
        weights[:, :depth] = right
        weights[:, depth:] = up
        return F.linear(both, weights, bias)
    out = both @ torch.cat([right, up])
    return out if bias is None else out + bias


def apart(
    left: Tensor,
    right: Tensor,
    bias: Tensor | None,
    low: Tensor,
    up: Tensor,
    scale: float,
    activation: str,
    *,
    by_rows: bool,
) -> Tensor:
    """Compute ``left · rightᵀ (+ bias)`` and add ``scale · act(low) · upᵀ`` in place, (M, N)."""
    out = F.linear(left, right if by_rows else right.T, bias)
    branch = _activated(low, activation).to(left.dtype)
    return out.addmm_(branch, up.T if by_rows else up, alpha=scale)


def _activated(low: Tensor, activation: str) -> Tensor:
    if not activation:
        return low
    function = _FUNCTIONS[activation]
    return function(low.float())
