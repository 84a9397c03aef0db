"""Tokens and weight gradients in bfloat16 on the CPU: three ways to multiply, chosen by the CPU.

Patches are always normalised in float32 first, and products are summed in float32.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor

from ... import _native
from .._tensors import address

# elements of one thread's share of a block of patches: half the second-level cache of CPUs with AMX
_BLOCK = 1 << 19
# rows of patches in memory at once for a gradient; their products are rounded before they are added
_GRADIENT_ROWS = 1 << 14


@cache
def way() -> str:
    """Return how this CPU multiplies bfloat16.

    Returns
    -------
    str
        ``"tiles"``: blocks of patches go to the matrix product of torch, which uses AMX.
        ``"pairs"``: a kernel with AVX512_BF16, which skips what is outside the mask.
        ``"float32"``: neither is there; the kernel of float32 runs on converted weights.
    """
    if not hasattr(_native, "voxel_tokenizer_bfloat16_forward"):
        return "float32"
    return "tiles" if _native.bfloat16_tiles() else "pairs"


def forward(source: Any, weight: Tensor, bias: Tensor | None, out: Tensor) -> None:
    """Write the tokens of a source of stored values, by pairs or tiles.

    Parameters
    ----------
    source : VoxelSource
    weight : Tensor, (D, F, kz, ky, kx) bfloat16, contiguous
    bias : Tensor, (D,) bfloat16, optional
    out : Tensor, (B, n_tokens, D) bfloat16, contiguous
    """
    threads = torch.get_num_threads()
    if way() == "pairs":
        wide = None if bias is None else bias.float()
        _native.voxel_tokenizer_bfloat16_forward(
            source,
            weight=address(weight),
            bias=address(wide),
            features=len(weight),
            out=address(out),
            threads=threads,
        )
        return
    factor, rows = weight.detach().flatten(1).T, out.view(-1, len(weight))
    count = min(len(rows), threads * max(64, _BLOCK // len(factor)))
    block = out.new_empty(count, len(factor))
    for first in range(0, len(rows), max(1, count)):
        part = rows[first : first + count]
        patches = _write(source, first, block[: len(part)], threads)
        if bias is None:
            torch.mm(patches, factor, out=part)
        else:
            torch.addmm(bias.detach(), patches, factor, out=part)


def weight_grad(source: Any, grad: Tensor, inner: int) -> Tensor:
    """Compute the gradient of the weight, by pairs or tiles.

    Parameters
    ----------
    source : VoxelSource
    grad : Tensor, (B, n_tokens, D) bfloat16, contiguous
    inner : int
        Voxels of a patch in all frames, F·P.

    Returns
    -------
    Tensor, (D, F·P) float32
    """
    threads = torch.get_num_threads()
    total = grad.new_empty(grad.shape[-1], inner, dtype=torch.float32)
    if way() == "pairs":
        _native.voxel_tokenizer_bfloat16_backward(
            source,
            grad=address(grad),
            features=grad.shape[-1],
            grad_weight=address(total),
            threads=threads,
        )
        return total
    rows = grad.view(-1, grad.shape[-1])
    block = grad.new_empty(min(len(rows), _GRADIENT_ROWS), inner)
    total.zero_()
    for first in range(0, len(rows), _GRADIENT_ROWS):
        part = rows[first : first + _GRADIENT_ROWS]
        total += part.T @ _write(source, first, block[: len(part)], threads)
    return total


def _write(source: Any, first: int, block: Tensor, threads: int) -> Tensor:
    _native.voxel_tokenizer_bfloat16_patches(
        source, first=first, count=len(block), out=address(block), threads=threads
    )
    return block
