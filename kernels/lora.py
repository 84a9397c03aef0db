"""Adapted linear layers on the GPU: a product with the low-rank branch in its accumulator.

``lora_linear_wide_kernel`` computes ``out = left · rightᵀ + scale · act(low) · upᵀ (+ bias)``: the
forward pass with x, W, x Aᵀ and B, and the gradient of x with dY, Wᵀ, dS and Aᵀ.
``lora_linear_narrow_kernel`` reads dY once for both dY B and dYᵀ s. The split of sums depends only
on the shape, and their order is fixed, so results are the same in every run. The kernels use plain
pointers, so that every Triton from 3.6 on compiles them.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from .launch import launch

# rows of a decoding step
DECODING_ROWS = 16
ACTIVATIONS = {"": 0, "gelu": 1, "silu": 2, "relu": 3}


@triton.jit
def _act(low, ACTIVATION: tl.constexpr):
    if ACTIVATION == 1:
        low = 0.5 * low * (1.0 + tl.erf(low * 0.7071067811865476))
    elif ACTIVATION == 2:
        low = low / (1.0 + tl.exp(-low))
    elif ACTIVATION == 3:
        low = tl.maximum(low, 0.0)
    return low


@triton.jit
def _dot(left, right, total, EXACT: tl.constexpr):
    if EXACT:
        total = tl.dot(left.to(tl.float32), right.to(tl.float32), total, input_precision="ieee")
    else:
        total = tl.dot(left.to(right.dtype), right, total)
    return total


# the number of rows changes from call to call and affects no alignment: do not specialise on it
@triton.jit(do_not_specialize=["rows"])
def lora_linear_wide_kernel(
    left,
    right,
    bias,
    low,
    up,
    out,
    scale,
    rows,
    columns,
    depth,
    rank,
    RIGHT_ROWS: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    ACTIVATION: tl.constexpr,
    EXACT: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
    BK: tl.constexpr,
    BR: tl.constexpr,
    GROUP: tl.constexpr,
):
    # neighbouring programs share rows of `right` in the L2 cache
    strips = tl.cdiv(rows, BM)
    width = GROUP * tl.cdiv(columns, BN)
    first = tl.program_id(0) // width * GROUP
    height = tl.minimum(strips - first, GROUP)
    strip = first + tl.program_id(0) % width % height
    m0 = strip.to(tl.int64) * BM
    n0 = (tl.program_id(0) % width // height).to(tl.int64) * BN
    # rows outside repeat the last one and are never stored; positions inside a tile fit 32 bits,
    # which halves the registers they take
    m = tl.minimum(tl.arange(0, BM).to(tl.int64), rows - 1 - m0).to(tl.int32)
    n = tl.arange(0, BN)
    is_column = n < columns - n0
    r = tl.arange(0, BR)
    is_rank = r < rank
    s = tl.load(low + m0 * rank + m[:, None] * rank + r[None, :], mask=is_rank[None, :], other=0)
    s = _act(s.to(tl.float32), ACTIVATION) * scale
    if RIGHT_ROWS:
        up += n0 * rank
        where = n[None, :] * rank + r[:, None]
    else:
        up += n0
        where = r[:, None] * columns + n[None, :]
    u = tl.load(up + where, mask=is_rank[:, None] & is_column[None, :], other=0)
    total = _dot(s, u, tl.zeros((BM, BN), dtype=tl.float32), EXACT)
    k = tl.arange(0, BK)
    left += m0 * depth
    lefts = m[:, None] * depth + k[None, :]
    if RIGHT_ROWS:
        right += n0 * depth
        rights = n[None, :] * depth + k[:, None]
    else:
        right += n0
        rights = k[:, None] * columns + n[None, :]
    for start in range(0, depth, BK):
        is_depth = k < depth - start
        x = tl.load(left + lefts, mask=is_depth[None, :], other=0)
        w = tl.load(right + rights, mask=is_depth[:, None] & is_column[None, :], other=0)
        total = _dot(x, w, total, EXACT)
        left += BK
        right += BK if RIGHT_ROWS else tl.cast(columns, tl.int64) * BK
    if HAS_BIAS:
        total += tl.load(bias + n0 + n, mask=is_column, other=0).to(tl.float32)[None, :]
    tl.store(
        out + m0 * columns + n0 + tl.arange(0, BM)[:, None] * columns + n[None, :],
        total.to(out.dtype.element_ty),
        mask=(tl.arange(0, BM) < rows - m0)[:, None] & is_column[None, :],
    )


@triton.jit(do_not_specialize=["rows", "strips"])
def lora_linear_narrow_kernel(
    grad,
    low,
    up,
    into_low,
    into_up,
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
        s = _act(s.to(tl.float32), ACTIVATION)
        part = _dot(g, u, tl.zeros((BM, BR), dtype=tl.float32), EXACT)
        offset = tl.program_id(0).to(tl.int64) * rows * rank
        tl.store(into_low + offset + here, part, mask=is_low)
        total = _dot(tl.trans(g), s if EXACT else s.to(g.dtype), total, EXACT)
    offset = tl.program_id(1).to(tl.int64) * columns * rank
    tl.store(into_up + offset + where, total, mask=is_column[:, None] & is_rank[None, :])


def rank_block(rank: int) -> int:
    """Return the tile columns for `rank`; tensor cores need at least 16."""
    return max(16, triton.next_power_of_2(rank))


def blocks(dtype: torch.dtype, rows: int, rank: int, capability: int = 90) -> dict[str, int]:
    """Return tiles of ``lora_linear_wide_kernel`` that spill no register.

    `capability` is the compute capability × 10.
    """
    held = {"BR": rank_block(rank), "GROUP": 8}
    if dtype == torch.float32:
        return {"BM": 64, "BN": 64, "BK": 16, "num_warps": 8, "num_stages": 2, **held}
    if rows <= DECODING_ROWS:
        # few rows: many narrow tiles read the weight from every multiprocessor
        return {"BM": 16, "BN": 32, "BK": 128, "num_warps": 4, "num_stages": 4, **held}
    if capability < 90:
        return {"BM": 128, "BN": 128, "BK": 32, "num_warps": 8, "num_stages": 3, **held}
    columns = 256 if rows >= 2048 and rank <= 16 else 128
    return {"BM": 128, "BN": columns, "BK": 64, "num_warps": 8, "num_stages": 3, **held}


def narrow_blocks(dtype: torch.dtype, rank: int) -> dict[str, int]:
    """Return tile sizes, warps and stages of ``lora_linear_narrow_kernel``."""
    size = {"BM": 32, "BN": 64} if dtype == torch.float32 else {"BM": 64, "BN": 128}
    # with two wide products in one pipelined loop, ptxas 13 serialises them (C7515)
    stages = 1 if rank > 16 and dtype != torch.float32 else 2
    return {**size, "BR": rank_block(rank), "num_warps": 8, "num_stages": stages}


def wide(
    left: Tensor,
    right: Tensor,
    bias: Tensor | None,
    low: Tensor,
    up: Tensor,
    scale: float,
    activation: str,
    *,
    by_rows: bool,
    exact: bool = False,
) -> Tensor:
    """Compute ``left · rightᵀ + scale · act(low) · upᵀ (+ bias)`` of contiguous tensors, (M, N).

    `left` is (M, K), `low` (M, r); `right` (N, K) and `up` (N, r), or both transposed if not
    `by_rows`. With `exact` it multiplies and stores in float32 for every dtype; for the
    interpreter, which multiplies and rounds bfloat16 incorrectly. Float32 tensors are always exact.
    """
    rows, depth = left.shape
    columns, rank = right.shape[0 if by_rows else 1], low.shape[1]
    out = left.new_empty(rows, columns, dtype=torch.float32 if exact else left.dtype)
    if out.numel() == 0:
        return out.to(left.dtype)
    tile = blocks(left.dtype, rows, rank, _capability(left))
    programs = triton.cdiv(rows, tile["BM"]) * triton.cdiv(columns, tile["BN"])
    launch(
        lora_linear_wide_kernel,
        (programs,),
        *(left, right, bias, low, up, out, scale, rows, columns, depth, rank),
        RIGHT_ROWS=by_rows,
        HAS_BIAS=bias is not None,
        ACTIVATION=ACTIVATIONS[activation],
        EXACT=exact or left.dtype == torch.float32,
        **tile,
    )
    return out.to(left.dtype)


def narrow(
    grad: Tensor, low: Tensor, up: Tensor, scale: float, activation: str, *, exact: bool = False
) -> tuple[Tensor, Tensor]:
    """Compute float32 gradients of act(low) (M, r) and `up` (N, r); dY (M, N) is read once."""
    (rows, columns), rank = grad.shape, low.shape[1]
    if grad.numel() == 0 or rank == 0:
        return torch.zeros_like(low).float(), torch.zeros_like(up).float()
    tile = narrow_blocks(grad.dtype, rank)
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
        *(grad, low, up, into_low, into_up, rows, columns, rank, strips),
        ACTIVATION=kind,
        EXACT=exact or grad.dtype == torch.float32,
        **tile,
    )
    return into_low.sum(0) * scale, into_up.sum(0) * scale


def _capability(tensor: Tensor) -> int:
    if tensor.device.type != "cuda":
        return 90
    major, minor = torch.cuda.get_device_capability(tensor.device)
    return 10 * major + minor
