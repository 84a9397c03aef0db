"""What the sweeps over the memory compute of a tile: products, masks, smoothed logarithms."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def dot(left, right, total, EXACT: tl.constexpr):
    if EXACT:
        return tl.dot(left.to(tl.float32), right.to(tl.float32), total, input_precision="ieee")
    return tl.dot(left.to(right.dtype), right, total)


@triton.jit
def load_rows(from_, row, k, WIDTH: tl.constexpr, STEP: tl.constexpr, BK: tl.constexpr):
    """Load (rows, BK) of a matrix; rows exist, columns beyond the width are 0."""
    at = from_ + row[:, None] * STEP + k[None, :]
    if WIDTH % BK == 0:
        return tl.load(at)
    return tl.load(at, mask=(k < WIDTH)[None, :], other=0.0)


@triton.jit
def cosines(
    features,
    memory,
    scores,
    pitch,
    sample,
    place,
    WIDTH: tl.constexpr,
    STEP: tl.constexpr,
    EXACT: tl.constexpr,
    NORMS: tl.constexpr,
    BB: tl.constexpr,
    BN: tl.constexpr,
    BK: tl.constexpr,
):
    """Return products (BB, BN) and, if requested, squared norms (BN,) of the memory's rows.

    The products are those in `scores`, (B, N), or are computed.
    """
    squares = tl.zeros((BN,), dtype=tl.float32)
    if scores is None:
        product = tl.zeros((BB, BN), dtype=tl.float32)
    else:
        product = tl.load(scores + sample.to(tl.int64)[:, None] * pitch + place[None, :])
    if NORMS or scores is None:
        for inner in range(0, WIDTH, BK):
            k = inner + tl.arange(0, BK)
            m = load_rows(memory, place, k, WIDTH, STEP, BK)
            if scores is None:
                f = load_rows(features, sample, k, WIDTH, WIDTH, BK)
                product = dot(f, tl.trans(m), product, EXACT)
            if NORMS:
                squares += tl.sum(m.to(tl.float32) * m.to(tl.float32), axis=1)
    return product, squares


@triton.jit
def bias_of(squares, column, end, indices, batch, tolerance, DANCE: tl.constexpr):
    """Compute 0 for a column that counts, -inf for a masked one and NaN for a norm but 0 or 1."""
    unit = tl.abs(tl.sqrt(squares) - 1) <= tolerance
    added = tl.where(unit, 0.0, float("nan"))
    masked = (squares == 0) | (column >= end)
    if DANCE:
        for first in range(0, batch, 64):
            lane = first + tl.arange(0, 64)
            row = tl.load(indices + lane, mask=lane < batch, other=-1)
            hits = tl.sum((column[:, None] == row[None, :]).to(tl.int32), axis=1)
            masked = masked | (hits > 0)
    return tl.where(masked, float("-inf"), added)


@triton.jit
def smoothed(weight, scale, eps):
    """Compute -ln(p + eps) and -ln(p + eps) - p / (p + eps) for p = weight · scale."""
    p = weight * scale
    value = -tl.log(p + eps)
    return value, value - p / (p + eps)


@triton.jit
def unmasked(product, logits):
    """Return a product, and 0 in a masked column, where 0 · -inf would be NaN.

    The choice keeps the compiler from fusing the product with a sum. A fused product is not rounded
    before it is added, so that lanes which hold the same sum would differ in its last bit.
    """
    return tl.where(logits == float("-inf"), 0.0, product)
