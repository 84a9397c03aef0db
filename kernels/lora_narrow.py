"""Gradients of the low-rank branch of an adapted linear layer on the GPU.

``lora_linear_narrow_kernel`` reads dY once for both dY B and dYᵀ s. The split of sums depends only
on the shape, and their order is fixed, so results are the same in every run.
"""

from __future__ import annotations

from functools import cache

import torch
import triton
import triton.language as tl
from torch import Tensor

from . import tables
from .launch import launch
from .lora import ACTIVATIONS
from .lora_dot import act, dot
from .lora_shapes import rank_block
from .tables import Candidate


@triton.jit(do_not_specialize=["rows", "strips"])
def lora_linear_narrow_kernel(
    grad,
    low,
    up,
    into_low,
    into_up,
    scale,
    rows,
    columns,
    rank,
    strips,
    ACTIVATION: tl.constexpr,
    EXACT: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
    BR: tl.constexpr,
):
    # a program accumulates the gradient of B for its columns and stores its part of dY B
    n = tl.program_id(0).to(tl.int64) * BN + tl.arange(0, BN)
    r = tl.arange(0, BR)
    is_column, is_rank = n < columns, r < rank
    where = n[:, None] * rank + r[None, :]
    u = tl.load(up + where, mask=is_column[:, None] & is_rank[None, :], other=0)
    total = tl.zeros((BN, BR), dtype=tl.float32)
    begin = tl.program_id(1).to(tl.int64) * strips * BM
    for strip in range(0, strips):
        m = begin + strip * BM + tl.arange(0, BM)
        is_row = m < rows
        g = tl.load(
            grad + m[:, None] * columns + n[None, :],
            mask=is_row[:, None] & is_column[None, :],
            other=0,
        )
        here = m[:, None] * rank + r[None, :]
        is_low = is_row[:, None] & is_rank[None, :]
        s = tl.load(low + here, mask=is_low, other=0)
        s = act(s.to(tl.float32), ACTIVATION)
        part = dot(g, u, tl.zeros((BM, BR), dtype=tl.float32), EXACT)
        offset = tl.program_id(0).to(tl.int64) * rows * rank
        tl.store(into_low + offset + here, part * scale, mask=is_low)
        total = dot(tl.trans(g), s if EXACT else s.to(g.dtype), total, EXACT)
    offset = tl.program_id(1).to(tl.int64) * columns * rank
    tl.store(into_up + offset + where, total * scale, mask=is_column[:, None] & is_rank[None, :])


@cache
def candidates(
    dtype: torch.dtype, rank: int, linear: bool, capability: int = 90
) -> tuple[Candidate, ...]:
    """Return tiles that spill no register; `linear` says that there is no activation."""
    block = rank_block(rank)
    if dtype == torch.float32:
        tiles = [(32, 64, 2), (32, 32, 2)]
    elif rank > 16 or linear:
        # with two products in one pipelined loop, ptxas 13 serialises them (C7515)
        tiles = [(64, 128, 1), (64, 64, 1)]
    else:
        tiles = [(64, 128, 2), (64, 128, 1)]
        tiles += [(64, 64, 1)] if 90 <= capability < 120 else []
    return tuple(
        Candidate.of("narrow", BM=bm, BN=bn, BR=block, num_warps=8, num_stages=stages)
        for bm, bn, stages in tiles
    )


def narrow(
    grad: Tensor, low: Tensor, up: Tensor, scale: float, activation: str, *, exact: bool = False
) -> tuple[Tensor, Tensor]:
    """Compute float32 gradients of act(low) (M, r) and `up` (N, r); dY (M, N) is read once."""
    (rows, columns), rank = grad.shape, low.shape[1]
    if grad.numel() == 0 or rank == 0:
        return torch.zeros_like(low).float(), torch.zeros_like(up).float()
    found = candidates(grad.dtype, rank, not activation, tables.capability(grad))
    shape = f"{str(grad.dtype)[6:]} rank {rank_block(rank)} {activation or 'linear'}"
    tile = tables.choose("lora_narrow", shape, found, grad).tile
    tiles = triton.cdiv(columns, tile["BN"])
    # about 256 programs, so that every multiprocessor has work
    strips = triton.cdiv(triton.cdiv(rows, tile["BM"]), max(1, 256 // tiles))
    splits = triton.cdiv(rows, strips * tile["BM"])
    into_low = grad.new_empty(tiles, rows, rank, dtype=torch.float32)
    into_up = grad.new_empty(splits, columns, rank, dtype=torch.float32)
    kind = ACTIVATIONS[activation]
    launch(
        lora_linear_narrow_kernel,
        (tiles, splits),
        *(grad, low, up, into_low, into_up, scale, rows, columns, rank, strips),
        ACTIVATION=kind,
        EXACT=exact or grad.dtype == torch.float32,
        **tile,
    )
    return into_low.sum(0), into_up.sum(0)
