"""Adapted linear layer of the few rows of a decoding step: one stream of the weight.

A program of each multiprocessor goes through its tiles of columns in one loop, so that the ring of
asynchronous copies never runs dry between two tiles; in ``lora_linear_wide_kernel`` every tile
fills it anew. Reading the weight is all the time that such a layer takes.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .lora_dot import act, dot


# the number of rows changes from call to call and affects no alignment: do not specialise on it
@triton.jit(do_not_specialize=["rows"])
def lora_linear_ring_kernel(
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
):
    steps = tl.cdiv(depth, BK)
    first, stride = tl.program_id(0), tl.num_programs(0)
    own = tl.cdiv(tl.cdiv(columns, BN) - first, stride)
    # rows outside repeat the last one and are never stored
    m = tl.minimum(tl.arange(0, BM), rows - 1)
    k = tl.arange(0, BK)
    total = tl.zeros((BM, BN), dtype=tl.float32)
    for step in range(0, own * steps):
        start = step % steps * BK
        n0 = ((first + step // steps * stride) * BN).to(tl.int64)
        n = tl.arange(0, BN)
        is_column, is_depth = n < columns - n0, k < depth - start
        x = tl.load(left + start + m[:, None] * depth + k[None, :], is_depth[None, :], other=0)
        if RIGHT_ROWS:
            at = right + n0 * depth + start + n[None, :] * depth + k[:, None]
        else:
            at = right + tl.cast(start, tl.int64) * columns + n0 + k[:, None] * columns + n[None, :]
        w = tl.load(at, mask=is_depth[:, None] & is_column[None, :], other=0)
        total = dot(x, w, total, EXACT)
        if start + BK >= depth:
            r = tl.arange(0, BR)
            is_rank = r < rank
            s = tl.load(low + m[:, None] * rank + r[None, :], mask=is_rank[None, :], other=0)
            s = act(s.to(tl.float32), ACTIVATION) * scale
            if RIGHT_ROWS:
                places = up + n0 * rank + n[None, :] * rank + r[:, None]
            else:
                places = up + n0 + r[:, None] * columns + n[None, :]
            u = tl.load(places, mask=is_rank[:, None] & is_column[None, :], other=0)
            total = dot(s, u, total, EXACT)
            if HAS_BIAS:
                total += tl.load(bias + n0 + n, mask=is_column, other=0).to(tl.float32)[None, :]
            tl.store(
                out + n0 + tl.arange(0, BM)[:, None] * columns + n[None, :],
                total.to(out.dtype.element_ty),
                mask=(tl.arange(0, BM) < rows)[:, None] & is_column[None, :],
            )
            total = tl.zeros((BM, BN), dtype=tl.float32)


def programs(columns: int, block: int, multiprocessors: int) -> int:
    """Return how many programs share the tiles: no more than it takes for as few turns."""
    tiles = triton.cdiv(columns, block)
    return triton.cdiv(tiles, triton.cdiv(tiles, multiprocessors))
