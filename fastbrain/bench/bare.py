"""Bare C++ kernels of the ops on the CPU: no checks, no choice, memory for the result at hand.

The difference to a call of the public function is what the checks, the choice of a backend, the
allocation and Python between them take.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .. import _native
from ..grid import TokenGrid
from ..ops._tensors import ACTIVATIONS
from ..ops.voxel_tokenizer.cpu import rows_of
from ..ops.vq.codebook import PackedCodebook
from .registry import Way


def lora_linear(
    x: Tensor, weight: Tensor, bias: Tensor, a: Tensor, b: Tensor, activation: str | None
) -> Way:
    """An adapted layer of few rows.

    Parameters
    ----------
    x : Tensor (M, d_in), float32 or bfloat16
    weight : Tensor (d_out, d_in)
    bias : Tensor (d_out,)
    a : Tensor (rank, d_in)
    b : Tensor (d_out, rank)
    activation : str or None
    """
    out = x.new_empty(len(x), len(weight))
    addresses = [t.data_ptr() for t in (x, weight, bias, a, b, out)]
    sizes = (*x.shape, len(weight), len(a))
    kind, half = ACTIVATIONS[activation or ""], x.dtype is torch.bfloat16
    arguments = (*addresses, *sizes, kind, 1.0, half, torch.get_num_threads())
    held = (x, weight, bias, a, b)  # the kernel has their addresses alone

    def way(_held: object = held) -> Tensor:
        _native.lora_few(*arguments)
        return out

    return way


def vq_lookup(x: Tensor, packed: PackedCodebook) -> Way:
    """The nearest of packed codes.

    Parameters
    ----------
    x : Tensor (N, D), float32
    packed : PackedCodebook
    """
    out = torch.empty(len(x), dtype=torch.int64)
    assert packed.panels is not None
    options = {
        "rows": x.data_ptr(),
        "type": 0,
        "mask": 0,
        "count": len(x),
        "codes": packed.panels.data_ptr(),
        "code_type": 0,
        "packed": True,
        "euclidean": True,
        "code_count": len(packed.codebook),
        "width": x.shape[1],
        "out": out.data_ptr(),
        "threads": torch.get_num_threads(),
    }

    def way(_held: object = (x, packed)) -> Tensor:
        _native.vq_lookup(**options)
        return out

    return way


def tokenize_voxels(
    volumes: Tensor,
    weight: Tensor,
    bias: Tensor,
    *,
    grid: TokenGrid,
    mean: Tensor | None,
    inv_std: Tensor | None,
) -> Way:
    """Tokens of int16 volumes.

    Parameters
    ----------
    volumes : Tensor (B, 1, Z, Y, X), int16
    weight : Tensor (D, 1, p, p, p), float32
    bias : Tensor (D,)
    grid : TokenGrid
    mean, inv_std : Tensor (Z, Y, X), optional
    """
    bases, bits = rows_of(grid)
    features, kernel = len(weight), weight.shape[-1]
    out = torch.empty(len(volumes), grid.n_tokens, features)
    statistics = [0 if t is None else t.data_ptr() for t in (mean, inv_std)]
    sizes = (len(volumes), 1, volumes[0, 0].numel(), *bases.shape, kernel)
    written = (weight.data_ptr(), bias.data_ptr(), features, out.data_ptr())
    read: tuple[Any, ...] = (volumes.data_ptr(), True, False, statistics[0], False, statistics[1])
    addresses = (bases.data_ptr(), bits.data_ptr())
    held = (volumes, weight, bias, mean, inv_std, bases, bits)

    def way(_held: object = held) -> tuple[Tensor]:
        source = _native.VoxelSource(*read, False, *addresses, sizes, 1.0)
        _native.voxel_tokenizer_forward(source, *written, torch.get_num_threads())
        return (out,)

    return way
