"""Streamed entropy of similarities to a memory on the GPU.

A program reads its share of the memory once and accumulates sums relative to a running maximum, so
that all terms lie in [0, 1] and fit half precision. Another kernel merges the shares in a fixed
order. `few` holds the float32 logits of the few other columns: prototypes and, in ``dance``, the
batch. `stats` has four rows: highest logit, inverse sum of exponentials, mean slope, entropy.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .neighborhood_logits import bias_of, cosines, dot, load_rows, smoothed, unmasked


@triton.jit
def _few_logits(
    features,
    prototypes,
    few,
    row,
    column,
    batch,
    classes,
    count,
    inv_temperature,
    WIDTH: tl.constexpr,
    BB: tl.constexpr,
):
    """Store the logits (BB, 16) of columns of [prototypes | batch], -inf on the diagonal."""
    own = column - classes
    is_row = row < batch
    product = tl.zeros((BB, 16), dtype=tl.float32)
    for inner in range(0, WIDTH, 32):
        k = inner + tl.arange(0, 32)
        inside = (k < WIDTH)[None, :]
        at = features + row[:, None] * WIDTH + k[None, :]
        f = tl.load(at, mask=is_row[:, None] & inside, other=0.0)
        at = prototypes + column[:, None] * WIDTH + k[None, :]
        other = tl.load(at, mask=(column < classes)[:, None] & inside, other=0.0)
        at = features + own[:, None] * WIDTH + k[None, :]
        is_own = (own >= 0) & (own < count - classes)
        other += tl.load(at, mask=is_own[:, None] & inside, other=0.0)
        product = tl.dot(f, tl.trans(other), product, input_precision="ieee")
    logits = tl.where(own[None, :] == row[:, None], float("-inf"), product * inv_temperature)
    at = few + row[:, None] * count + column[None, :]
    tl.store(at, logits, mask=is_row[:, None] & (column < count)[None, :])


# the numbers of samples and rows change and affect no alignment: do not specialise on them
@triton.jit(
    do_not_specialize=["batch", "classes", "count", "size", "shares"],
    do_not_specialize_on_alignment=["indices"],
)
def neighborhood_clustering_fwd_kernel(
    features,
    prototypes,
    memory,
    scores,
    indices,
    bias,
    few,
    stats,
    sums,
    products,
    batch,
    classes,
    count,
    size,
    span,
    shares,
    inv_temperature,
    eps,
    tolerance,
    KNOWN: tl.constexpr,
    DUAL: tl.constexpr,
    DANCE: tl.constexpr,
    WIDTH: tl.constexpr,
    STEP: tl.constexpr,
    EXACT: tl.constexpr,
    BB: tl.constexpr,
    BN: tl.constexpr,
    BK: tl.constexpr,
):
    row = tl.program_id(0) * BB + tl.arange(0, BB)
    split = tl.program_id(1).to(tl.int64)
    if not KNOWN:
        if split >= shares:
            # programs beyond the shares of the memory: the few other columns
            column = (tl.program_id(1) - shares) * 16 + tl.arange(0, 16)
            _few_logits(
                *(features, prototypes, few, row, column, batch, classes, count),
                *(inv_temperature, WIDTH, BB),
            )
            return
    is_row = row < batch
    own = tl.load(indices + row, mask=is_row, other=-1)
    highest = tl.full((BB,), -1e30, dtype=tl.float32)
    if KNOWN:
        highest = tl.load(stats + row, mask=is_row, other=0.0)
        scale = tl.load(stats + batch + row, mask=is_row, other=0.0)
    first = tl.zeros((BB,), dtype=tl.float32)
    second = tl.zeros((BB,), dtype=tl.float32)
    k = tl.arange(0, BK)
    # rows past the last repeat it and are not used
    sample = tl.minimum(row, batch - 1)
    if DUAL:
        f = load_rows(features, sample, k, WIDTH, WIDTH, BK)
        if not EXACT:
            f = f.to(memory.dtype.element_ty)
        left = tl.zeros((BB, BK), dtype=tl.float32)
        right = tl.zeros((BB, BK), dtype=tl.float32)
    begin = split * span
    end = tl.minimum(begin + span, size)
    for offset in range(0, span, BN):
        column = begin + offset + tl.arange(0, BN)
        place = tl.minimum(column, size - 1)
        if DUAL:
            m = load_rows(memory, place, k, WIDTH, STEP, BK)
            product = dot(f, tl.trans(m), tl.zeros((BB, BN), dtype=tl.float32), EXACT)
            if not KNOWN:
                squares = tl.sum(m.to(tl.float32) * m.to(tl.float32), axis=1)
        else:
            product, squares = cosines(
                *(features, memory, scores, size, sample, place),
                *(WIDTH, STEP, EXACT, not KNOWN, BB, BN, BK),
            )
        if KNOWN:
            added = tl.load(bias + column, mask=column < end, other=float("-inf"))
        else:
            added = bias_of(squares, column, end, indices, batch, tolerance, DANCE)
            if tl.program_id(0) == 0:
                tl.store(bias + column, added, mask=column < end)
        logits = product * inv_temperature + added[None, :]
        logits = tl.where(column[None, :] == own[:, None], float("-inf"), logits)
        if not KNOWN:
            # a NaN must reach the sums: the maximum ignores it, the exponential propagates it
            higher = tl.maximum(highest, tl.max(logits, axis=1))
            moved = highest - higher
            shrink = tl.exp(moved)
            second = shrink * (second + moved * first)
            first = shrink * first
            if DUAL:
                right = shrink[:, None] * (right + moved[:, None] * left)
                left = shrink[:, None] * left
            highest = higher
        weight = tl.exp(logits - highest[:, None])
        if KNOWN:
            value, slope = smoothed(weight, scale[:, None], eps)
            first += tl.sum(unmasked(weight * value, logits), axis=1)
        else:
            first += tl.sum(weight, axis=1)
            slope = logits - highest[:, None]
        moment = unmasked(weight * slope, logits)
        second += tl.sum(moment, axis=1)
        if DUAL:
            left = dot(weight, m, left, EXACT)
            right = dot(moment, m, right, EXACT)
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
    do_not_specialize=["begin", "batch", "columns", "size"],
    do_not_specialize_on_alignment=["indices"],
)
def neighborhood_clustering_bwd_kernel(
    features,
    memory,
    scores,
    indices,
    bias,
    stats,
    weights,
    sums,
    begin,
    batch,
    columns,
    size,
    pitch,
    inv_temperature,
    eps,
    DANCE: tl.constexpr,
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
    highest = tl.load(stats + row, mask=is_row, other=0.0)
    product, _ = cosines(
        *(features, memory, scores, columns),
        *(tl.minimum(row, batch - 1), tl.minimum(column, size - 1)),
        *(WIDTH, STEP, EXACT, False, BB, BN, BK),
    )
    added = tl.load(bias + column, mask=column < size, other=float("-inf"))
    logits = product * inv_temperature + added[None, :]
    logits = tl.where(column[None, :] == own[:, None], float("-inf"), logits)
    weight = tl.exp(logits - highest[:, None])
    at = weights + row[:, None].to(tl.int64) * pitch + place[None, :]
    inside = is_row[:, None] & (place < pitch)[None, :]
    if DANCE:
        # the mean slope is not known yet: both planes are multiplied
        scale = tl.load(stats + batch + row, mask=is_row, other=0.0)
        value, slope = smoothed(weight, scale[:, None], eps)
        first = tl.sum(unmasked(weight * value, logits), axis=1)
        second = tl.sum(unmasked(weight * slope, logits), axis=1)
        share = (tl.cast(begin, tl.int64) // BN + tl.program_id(1)) * 3 * batch + row
        tl.store(sums + share + batch, first, mask=is_row)
        tl.store(sums + share + 2 * batch, second, mask=is_row)
        tl.store(at, weight.to(weights.dtype.element_ty), mask=inside)
        at += tl.cast(batch, tl.int64) * pitch
        weight = weight * slope
    else:
        mean = tl.load(stats + 2 * batch + row, mask=is_row, other=0.0)
        slope = tl.where(logits == float("-inf"), 0.0, logits - highest[:, None])
        weight = weight * (mean[:, None] - slope)
    tl.store(at, weight.to(weights.dtype.element_ty), mask=inside)
