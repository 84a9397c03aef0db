"""Adapted linear layers on the GPU: a product with the low-rank branch in its accumulator.

``lora_linear_wide_kernel`` computes ``out = left · rightᵀ + scale · act(low) · upᵀ (+ bias)``: the
forward pass with x, W, x Aᵀ and B, and the gradient of x with dY, Wᵀ, dS and Aᵀ.
``lora_linear_persistent_kernel`` does the same with one program for each multiprocessor, which
reads and writes tiles through tensor descriptors (TMA, from compute capability 9.0 on). The
products of ``lora_products`` are candidates as well.
"""

from __future__ import annotations

from functools import cache

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.tools.tensor_descriptor import TensorDescriptor

from . import lora_products, tables
from .launch import launch
from .lora_dot import act, dot
from .lora_ring import lora_linear_ring_kernel, programs
from .lora_shapes import DECODING_ROWS, MANY_ROWS, layer_class, rank_block, row_class
from .tables import Candidate

ACTIVATIONS = {"": 0, "gelu": 1, "silu": 2, "relu": 3}


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
    s = act(s.to(tl.float32), ACTIVATION) * scale
    if RIGHT_ROWS:
        up += n0 * rank
        where = n[None, :] * rank + r[:, None]
    else:
        up += n0
        where = r[:, None] * columns + n[None, :]
    u = tl.load(up + where, mask=is_rank[:, None] & is_column[None, :], other=0)
    total = dot(s, u, tl.zeros((BM, BN), dtype=tl.float32), EXACT)
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
        total = dot(x, w, total, EXACT)
        left += BK
        right += BK if RIGHT_ROWS else tl.cast(columns, tl.int64) * BK
    if HAS_BIAS:
        total += tl.load(bias + n0 + n, mask=is_column, other=0).to(tl.float32)[None, :]
    tl.store(
        out + m0 * columns + n0 + tl.arange(0, BM)[:, None] * columns + n[None, :],
        total.to(out.dtype.element_ty),
        mask=(tl.arange(0, BM) < rows - m0)[:, None] & is_column[None, :],
    )


@triton.jit(do_not_specialize=["rows"])
def lora_linear_persistent_kernel(
    left,
    right,
    out,
    bias,
    low,
    up,
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
    strips = tl.cdiv(rows, BM)
    width = GROUP * tl.cdiv(columns, BN)
    r = tl.arange(0, BR)
    for tile in range(tl.program_id(0), strips * tl.cdiv(columns, BN), tl.num_programs(0)):
        # neighbouring programs share rows of `right` in the L2 cache
        first = tile // width * GROUP
        height = tl.minimum(strips - first, GROUP)
        m0 = (first + tile % width % height) * BM
        n0 = tile % width // height * BN
        m = tl.minimum(m0 + tl.arange(0, BM), rows - 1).to(tl.int64)
        n = n0 + tl.arange(0, BN)
        is_column, is_rank = n < columns, r < rank
        s = tl.load(low + m[:, None] * rank + r[None, :], mask=is_rank[None, :], other=0)
        s = act(s.to(tl.float32), ACTIVATION) * scale
        if RIGHT_ROWS:
            where = n[None, :].to(tl.int64) * rank + r[:, None]
        else:
            where = r[:, None].to(tl.int64) * columns + n[None, :]
        u = tl.load(up + where, mask=is_rank[:, None] & is_column[None, :], other=0)
        total = dot(s, u, tl.zeros((BM, BN), dtype=tl.float32), EXACT)
        for start in range(0, depth, BK):
            x = left.load([m0, start])
            if RIGHT_ROWS:
                w = right.load([n0, start]).T
            else:
                w = right.load([start, n0])
            total = dot(x, w, total, EXACT)
        if HAS_BIAS:
            total += tl.load(bias + n, mask=is_column, other=0).to(tl.float32)[None, :]
        out.store([m0, n0], total.to(out.dtype))


@cache
def candidates(
    dtype: torch.dtype, rows: int, rank: int, capability: int = 90, described: bool = False
) -> tuple[Candidate, ...]:
    """Return what may compute ``left · rightᵀ + scale · act(low) · upᵀ``; no tile spills.

    ``wide`` and ``persistent`` are the kernels of this file, ``ring`` is that of a decoding step,
    ``joined`` and ``apart`` are products of PyTorch. `rows` is a result of :func:`row_class`,
    `capability` the compute capability × 10, and `described` says whether the tensors have the
    strides and addresses that tensor descriptors need.
    """
    block = rank_block(rank)
    products = (Candidate.of("apart"), Candidate.of("joined"))
    rings: list[tuple[int, int]] = []
    if dtype == torch.float32:
        # on an H200 the products are several times faster: no tensor core multiplies float32
        tile = Candidate.of(
            "wide", BM=64, BN=64, BK=16, BR=block, GROUP=8, num_warps=8, num_stages=2
        )
        return *products, tile
    if rows <= DECODING_ROWS:
        # few rows: many narrow tiles read the weight from every multiprocessor
        tiles = [
            ("wide", 16, 32, 128, 4, 4),
            ("wide", 16, 64, 128, 4, 4),
            ("wide", 16, 32, 256, 4, 2),
        ]
        rings = [(32, 128), (16, 256)]
    elif not 90 <= capability < 120:
        tiles = [("wide", 128, 128, 32, 8, 3), ("wide", 128, 64, 32, 4, 3)]
    else:
        tiles = [("wide", 128, 128, 64, 8, 3), ("wide", 128, 128, 64, 8, 4)]
        if rank <= 16 and described:
            large = [("wide", 128, 256, 64, 8, 3), ("wide", 256, 128, 64, 8, 3)]
            tiles = [*large, *tiles] if rows >= MANY_ROWS else [*tiles, *large]
        if described:
            tiles += [("persistent", 128, 128, 64, 8, 4)]
            tiles += [("persistent", 128, 256, 64, 8, 3)] if rank <= 16 else []
    kernels = (
        Candidate.of(
            variant, BM=bm, BN=bn, BK=bk, BR=block, GROUP=8, num_warps=warps, num_stages=stages
        )
        for variant, bm, bn, bk, warps, stages in tiles
    )
    streams = (
        Candidate.of("ring", BM=16, BN=bn, BK=bk, BR=block, num_warps=4, num_stages=5)
        for bn, bk in rings
    )
    return (*kernels, *streams, *products)


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
    described = _described(left, right, columns)
    capability = tables.capability(left)
    found = candidates(left.dtype, row_class(rows), rank, capability, described)
    shape = layer_class(left.dtype, row_class(rows), depth, columns, rank)
    shape += "" if by_rows else " transposed"
    taken = tables.choose("lora_wide", shape, found, left)
    if taken.variant in ("joined", "apart"):
        way = lora_products.joined if taken.variant == "joined" else lora_products.apart
        return way(left, right, bias, low, up, scale, activation, by_rows=by_rows)
    tile = taken.tile
    grid = triton.cdiv(rows, tile["BM"]) * triton.cdiv(columns, tile["BN"])
    flags = {
        "RIGHT_ROWS": by_rows,
        "HAS_BIAS": bias is not None,
        "ACTIVATION": ACTIVATIONS[activation],
        "EXACT": exact or left.dtype == torch.float32,
        **tile,
    }
    sizes = scale, rows, columns, depth, rank
    if taken.variant == "persistent":
        right_block = [tile["BN"], tile["BK"]] if by_rows else [tile["BK"], tile["BN"]]
        views = (
            TensorDescriptor.from_tensor(left, [tile["BM"], tile["BK"]]),
            TensorDescriptor.from_tensor(right, right_block),
            TensorDescriptor.from_tensor(out, [tile["BM"], tile["BN"]]),
        )
        grid = min(grid, tables.multiprocessors(left))
        branch = bias, low, up
        launch(lora_linear_persistent_kernel, (grid,), *views, *branch, *sizes, **flags)
    else:
        tensors = left, right, bias, low, up, out
        if taken.variant == "ring":
            grid = programs(columns, tile["BN"], tables.multiprocessors(left))
            launch(lora_linear_ring_kernel, (grid,), *tensors, *sizes, **flags)
        else:
            launch(lora_linear_wide_kernel, (grid,), *tensors, *sizes, **flags)
    return out.to(left.dtype)


def _described(left: Tensor, right: Tensor, columns: int) -> bool:
    # TMA reads rows that begin at multiples of 16 bytes
    strides = all(n * left.element_size() % 16 == 0 for n in (left.shape[1], columns))
    return strides and all(t.data_ptr() % 16 == 0 for t in (left, right))
