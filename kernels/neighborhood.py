"""Streamed entropy of similarities to a memory on the GPU.

A program reads its share of the memory once and accumulates sums. Each sample has a running
maximum, so that all terms lie in [0, 1] and fit half precision; the caller merges the shares with
the same rescaling. The kernels use plain pointers, so that every Triton from 3.6 on compiles them.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl


@triton.jit
def _dot(left, right, total, EXACT: tl.constexpr):
    if EXACT:
        return tl.dot(left.to(tl.float32), right.to(tl.float32), total, input_precision="ieee")
    return tl.dot(left, right, total)


@triton.jit
def _rows(from_, row, k, WIDTH: tl.constexpr, STEP: tl.constexpr, BK: tl.constexpr):
    """Load (rows, BK) of a matrix; rows exist, columns beyond the width are 0."""
    at = from_ + row[:, None] * STEP + k[None, :]
    if WIDTH % BK == 0:
        return tl.load(at)
    return tl.load(at, mask=(k < WIDTH)[None, :], other=0.0)


@triton.jit
def _cosines(
    features,
    rest,
    memory,
    sample,
    place,
    SPLIT: tl.constexpr,
    WIDTH: tl.constexpr,
    STEP: tl.constexpr,
    EXACT: tl.constexpr,
    BB: tl.constexpr,
    BN: tl.constexpr,
    BK: tl.constexpr,
):
    product = tl.zeros((BB, BN), dtype=tl.float32)
    for inner in range(0, WIDTH, BK):
        k = inner + tl.arange(0, BK)
        m = _rows(memory, place, k, WIDTH, STEP, BK)
        f = _rows(features, sample, k, WIDTH, WIDTH, BK)
        product = _dot(f, tl.trans(m), product, EXACT)
        if SPLIT:
            r = _rows(rest, sample, k, WIDTH, WIDTH, BK)
            product = _dot(r, tl.trans(m), product, EXACT)
    return product


@triton.jit
def _masked(product, inv_temperature, bias, column, end, own):
    added = tl.load(bias + column, mask=column < end, other=float("-inf"))
    logits = product * inv_temperature + added[None, :]
    return tl.where(column[None, :] == own[:, None], float("-inf"), logits)


@triton.jit
def _smoothed(weight, scale, eps):
    """Compute -ln(p + eps) and -ln(p + eps) - p / (p + eps) for p = weight · scale."""
    p = weight * scale[:, None]
    value = -tl.log(p + eps)
    return value, value - p / (p + eps)


# the numbers of samples and rows change and affect no alignment: do not specialise on them
@triton.jit(do_not_specialize=["batch", "size"], do_not_specialize_on_alignment=["indices"])
def neighborhood_clustering_fwd_kernel(
    features,
    rest,
    memory,
    indices,
    bias,
    known,
    sums,
    products,
    batch,
    size,
    span,
    inv_temperature,
    eps,
    KNOWN: tl.constexpr,
    DUAL: tl.constexpr,
    SPLIT: tl.constexpr,
    WIDTH: tl.constexpr,
    STEP: tl.constexpr,
    EXACT: tl.constexpr,
    BB: tl.constexpr,
    BN: tl.constexpr,
    BK: tl.constexpr,
):
    row = tl.program_id(0) * BB + tl.arange(0, BB)
    split = tl.program_id(1).to(tl.int64)
    is_row = row < batch
    own = tl.load(indices + row, mask=is_row, other=-1)
    highest = tl.full((BB,), -1e30, dtype=tl.float32)
    if KNOWN:
        highest = tl.load(known + row, mask=is_row, other=0.0)
        scale = tl.load(known + batch + row, mask=is_row, other=0.0)
    first = tl.zeros((BB,), dtype=tl.float32)
    second = tl.zeros((BB,), dtype=tl.float32)
    k = tl.arange(0, BK)
    # rows past the last repeat it and are not used
    sample = tl.minimum(row, batch - 1)
    if DUAL:
        f = _rows(features, sample, k, WIDTH, WIDTH, BK)
        if SPLIT:
            r = _rows(rest, sample, k, WIDTH, WIDTH, BK)
        left = tl.zeros((BB, BK), dtype=tl.float32)
        right = tl.zeros((BB, BK), dtype=tl.float32)
    begin = split * span
    end = tl.minimum(begin + span, size)
    for offset in range(0, span, BN):
        column = begin + offset + tl.arange(0, BN)
        place = tl.minimum(column, size - 1)
        if DUAL:
            m = _rows(memory, place, k, WIDTH, STEP, BK)
            product = tl.zeros((BB, BN), dtype=tl.float32)
            product = _dot(f, tl.trans(m), product, EXACT)
            if SPLIT:
                product = _dot(r, tl.trans(m), product, EXACT)
        else:
            product = _cosines(
                *(features, rest, memory, sample, place, SPLIT, WIDTH, STEP, EXACT, BB, BN, BK)
            )
        logits = _masked(product, inv_temperature, bias, column, end, own)
        if not KNOWN:
            # a NaN must reach the sums: the maximum ignores it, the exponential propagates it
            higher = tl.maximum(highest, tl.max(logits, axis=1))
            shrink = tl.exp(highest - higher)
            moved = highest - higher
            second = shrink * (second + moved * first)
            first = shrink * first
            if DUAL:
                right = shrink[:, None] * (right + moved[:, None] * left)
                left = shrink[:, None] * left
            highest = higher
        weight = tl.exp(logits - highest[:, None])
        if KNOWN:
            value, slope = _smoothed(weight, scale, eps)
            first += tl.sum(weight * value, axis=1)
        else:
            # 0 · -inf would be NaN where a column is masked
            slope = tl.where(logits == float("-inf"), 0.0, logits - highest[:, None])
            first += tl.sum(weight, axis=1)
        moment = weight * slope
        second += tl.sum(moment, axis=1)
        if DUAL:
            left = _dot(weight.to(m.dtype), m, left, EXACT)
            right = _dot(moment.to(m.dtype), m, right, EXACT)
    at = sums + split * 3 * batch + row
    tl.store(at, highest, mask=is_row)
    tl.store(at + batch, first, mask=is_row)
    tl.store(at + 2 * batch, second, mask=is_row)
    if DUAL:
        at = products + (split * 2 * batch + row[:, None]) * WIDTH + k[None, :]
        inside = is_row[:, None] & (k < WIDTH)[None, :]
        tl.store(at, left, mask=inside)
        tl.store(at + tl.cast(batch, tl.int64) * WIDTH, right, mask=inside)


@triton.jit(
    do_not_specialize=["begin", "batch", "size"], do_not_specialize_on_alignment=["indices"]
)
def neighborhood_clustering_bwd_kernel(
    features,
    rest,
    memory,
    indices,
    bias,
    known,
    weights,
    begin,
    batch,
    size,
    pitch,
    inv_temperature,
    eps,
    SMOOTHED: tl.constexpr,
    SPLIT: tl.constexpr,
    WIDTH: tl.constexpr,
    STEP: tl.constexpr,
    EXACT: tl.constexpr,
    BB: tl.constexpr,
    BN: tl.constexpr,
    BK: tl.constexpr,
):
    row = tl.program_id(0) * BB + tl.arange(0, BB)
    place = tl.program_id(1) * BN + tl.arange(0, BN)
    is_row = row < batch
    column = tl.cast(begin, tl.int64) + place
    own = tl.load(indices + row, mask=is_row, other=-1)
    highest = tl.load(known + row, mask=is_row, other=0.0)
    scale = tl.load(known + batch + row, mask=is_row, other=0.0)
    mean = tl.load(known + 2 * batch + row, mask=is_row, other=0.0)
    product = _cosines(
        *(features, rest, memory, tl.minimum(row, batch - 1), tl.minimum(column, size - 1)),
        *(SPLIT, WIDTH, STEP, EXACT, BB, BN, BK),
    )
    logits = _masked(product, inv_temperature, bias, column, size, own)
    weight = tl.exp(logits - highest[:, None])
    if SMOOTHED:
        slope = _smoothed(weight, scale, eps)[1] - mean[:, None]
    else:
        slope = tl.where(logits == float("-inf"), 0.0, mean[:, None] - logits)
    tl.store(
        weights + row[:, None].to(tl.int64) * pitch + place[None, :],
        (weight * slope).to(weights.dtype.element_ty),
        mask=is_row[:, None] & (place < pitch)[None, :],
    )


def blocks(dtype: torch.dtype, width: int, *, dual: bool) -> dict[str, int]:
    """Return tile sizes, warps and stages for a memory of `dtype`.

    These are the largest tiles that spill no register on sm_80, sm_90 and sm_100; with both
    products in registers the inner block is the whole row.
    """
    if dual:
        inner = max(16, triton.next_power_of_2(width))
        if dtype == torch.float32:
            return {"BB": 16, "BN": 32, "BK": inner, "num_warps": 8, "num_stages": 1}
        samples = 64 if inner <= 128 else 32
        return {"BB": samples, "BN": 64, "BK": inner, "num_warps": 8, "num_stages": 2}
    if dtype == torch.float32:
        return {"BB": 64, "BN": 64, "BK": 32, "num_warps": 8, "num_stages": 2}
    return {"BB": 64, "BN": 128, "BK": 64, "num_warps": 8, "num_stages": 3}
