"""What follows the sweeps of :mod:`neighborhood`: merged shares, wide products, gradients.

Shares are added in a fixed order, so that results do not change from run to run.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _slopes(logits, highest, inverse, eps, SMOOTHED: tl.constexpr):
    """Compute weights relative to the highest logit, values of the entropy, and slopes."""
    weight = tl.exp(logits - highest)
    if SMOOTHED:
        p = weight * inverse
        value = -tl.log(p + eps)
        return weight, value, value - p / (p + eps)
    slope = tl.where(logits == float("-inf"), 0.0, logits - highest)
    return weight, slope, slope


@triton.jit
def _merged(sums, few, stats, row, batch, count, shares, eps, KNOWN: tl.constexpr):
    """Merge the sums of 16 samples over shares and few columns into their statistics."""
    is_row = row < batch
    lane = tl.arange(0, 64)
    if KNOWN:
        highest = tl.load(stats + row, mask=is_row, other=0.0)
        inverse = tl.load(stats + batch + row, mask=is_row, other=0.0)
    else:
        inverse = tl.full((16,), 1.0, dtype=tl.float32)
        highest = tl.full((16,), -1e30, dtype=tl.float32)
        for first in range(0, shares, 64):
            share = (first + lane).to(tl.int64)
            inside = (share < shares)[:, None] & is_row[None, :]
            at = sums + share[:, None] * (3 * batch) + row[None, :]
            highest = tl.maximum(highest, tl.max(tl.load(at, mask=inside, other=-1e30), axis=0))
        for first in range(0, count, 64):
            column = first + lane
            inside = is_row[:, None] & (column < count)[None, :]
            at = few + row[:, None] * count + column[None, :]
            logits = tl.load(at, mask=inside, other=float("-inf"))
            highest = tl.maximum(highest, tl.max(logits, axis=1))
    total = tl.zeros((16,), dtype=tl.float32)
    second = tl.zeros((16,), dtype=tl.float32)
    for first in range(0, shares, 64):
        share = (first + lane).to(tl.int64)
        inside = (share < shares)[:, None] & is_row[None, :]
        at = sums + share[:, None] * (3 * batch) + row[None, :]
        a = tl.load(at + batch, mask=inside, other=0.0)
        b = tl.load(at + 2 * batch, mask=inside, other=0.0)
        if not KNOWN:
            moved = tl.load(at, mask=inside, other=-1e30) - highest[None, :]
            shrink = tl.exp(moved)
            b = shrink * (b + moved * a)
            a = shrink * a
        total += tl.sum(a, axis=0)
        second += tl.sum(b, axis=0)
    for first in range(0, count, 64):
        column = first + lane
        inside = is_row[:, None] & (column < count)[None, :]
        at = few + row[:, None] * count + column[None, :]
        logits = tl.load(at, mask=inside, other=float("-inf"))
        weight, value, slope = _slopes(logits, highest[:, None], inverse[:, None], eps, KNOWN)
        total += tl.sum(weight * value if KNOWN else weight, axis=1)
        second += tl.sum(weight * slope, axis=1)
    if KNOWN:
        mean, entropy = second * inverse, total * inverse
    else:
        total = tl.where(is_row, total, 1.0)
        mean = second / total
        entropy = tl.log(total) - mean
        tl.store(stats + row, highest, mask=is_row)
        tl.store(stats + batch + row, 1 / total, mask=is_row)
    tl.store(stats + 2 * batch + row, mean, mask=is_row)
    tl.store(stats + 3 * batch + row, entropy, mask=is_row)


@triton.jit(do_not_specialize=["batch", "count", "shares"])
def neighborhood_clustering_merge_kernel(
    sums, few, stats, batch, count, shares, eps, KNOWN: tl.constexpr
):
    row = tl.program_id(0) * 16 + tl.arange(0, 16)
    _merged(sums, few, stats, row, batch, count, shares, eps, KNOWN)


@triton.jit(
    do_not_specialize=[
        *("begin", "rows", "size", "first_share", "batch", "count", "sections", "shares")
    ]
)
def neighborhood_clustering_product_kernel(
    weights,
    memory,
    products,
    sums,
    few,
    stats,
    begin,
    rows,
    size,
    pitch,
    span,
    first_share,
    batch,
    count,
    sections,
    shares,
    eps,
    MERGE: tl.constexpr,
    WIDTH: tl.constexpr,
    STEP: tl.constexpr,
    EXACT: tl.constexpr,
    BB: tl.constexpr,
    BD: tl.constexpr,
    BN: tl.constexpr,
):
    """Multiply shares of the weights by the memory; more programs merge the sums of the weights."""
    group = tl.program_id(0)
    if MERGE:
        if group >= sections:
            at = (group - sections) * 16 + tl.arange(0, 16)
            if (tl.program_id(1) == 0) & (tl.program_id(2) == 0):
                _merged(sums, few, stats, at, batch, count, shares, eps, True)
            return
    row = group * BB + tl.arange(0, BB)
    k = tl.program_id(1) * BD + tl.arange(0, BD)
    share = tl.program_id(2).to(tl.int64)
    total = tl.zeros((BB, BD), dtype=tl.float32)
    for offset in range(0, span, BN):
        place = share * span + offset + tl.arange(0, BN)
        at = weights + row[:, None].to(tl.int64) * pitch + place[None, :]
        w = tl.load(at, mask=(row < rows)[:, None] & (place < pitch)[None, :], other=0.0)
        column = tl.minimum(begin + place, size - 1)
        at = memory + column[:, None] * STEP + k[None, :]
        m = tl.load(at, mask=(k < WIDTH)[None, :], other=0.0)
        if EXACT:
            total = tl.dot(w.to(tl.float32), m.to(tl.float32), total, input_precision="ieee")
        else:
            total = tl.dot(w, m, total)
    at = products + ((first_share + share) * rows + row[:, None]) * WIDTH + k[None, :]
    tl.store(at, total, mask=(row < rows)[:, None] & (k < WIDTH)[None, :])


@triton.jit
def _pull(few, stats, row, column, batch, count, eps, DANCE: tl.constexpr):
    """Compute derivatives by the logits of few columns; `row` and `column` broadcast."""
    is_row = row < batch
    logits = tl.load(
        few + row * count + column, mask=is_row & (column < count), other=float("-inf")
    )
    highest = tl.load(stats + row, mask=is_row, other=0.0)
    inverse = tl.load(stats + batch + row, mask=is_row, other=0.0)
    mean = tl.load(stats + 2 * batch + row, mask=is_row, other=0.0)
    weight, _, slope = _slopes(logits, highest, inverse, eps, DANCE)
    slope = slope - mean if DANCE else mean - slope
    return weight * inverse * slope


@triton.jit(do_not_specialize=["batch", "classes", "count", "shares"])
def neighborhood_clustering_finalise_kernel(
    features,
    prototypes,
    few,
    stats,
    sums,
    products,
    value,
    grads,
    batch,
    classes,
    count,
    shares,
    scale,
    eps,
    PLANES: tl.constexpr,
    DANCE: tl.constexpr,
    WIDTH: tl.constexpr,
    BD: tl.constexpr,
    BS: tl.constexpr,
):
    """Compute gradients (batch + classes, WIDTH) and the mean entropy.

    Two planes of products are relative to the maximum of their share, or in ``dance`` lack the
    mean slope; one plane is already the sum over a share.
    """
    groups = (batch + 15) // 16
    group = tl.program_id(0)
    k = tl.program_id(1) * BD + tl.arange(0, BD)
    inside = (k < WIDTH)[None, :]
    lane = tl.arange(0, 32)
    total = tl.zeros((16, BD), dtype=tl.float32)
    if group < groups:
        row = group * 16 + tl.arange(0, 16)
        is_row = row < batch
        highest = tl.load(stats + row, mask=is_row, other=0.0)
        inverse = tl.load(stats + batch + row, mask=is_row, other=0.0)
        mean = tl.load(stats + 2 * batch + row, mask=is_row, other=0.0)
        plane = tl.cast(batch, tl.int64) * WIDTH
        for first in range(0, shares, BS):
            share = (first + tl.arange(0, BS)).to(tl.int64)
            some = (share < shares)[:, None] & is_row[None, :]
            at = products + (share[:, None] * (PLANES * batch) + row[None, :])[:, :, None] * WIDTH
            at += k[None, None, :]
            mask = some[:, :, None] & inside[None, :, :]
            part = tl.load(at, mask=mask, other=0.0)
            if PLANES == 2:
                moment = tl.load(at + plane, mask=mask, other=0.0)
                if DANCE:
                    part = moment - mean[None, :, None] * part
                else:
                    at = sums + share[:, None] * (3 * batch) + row[None, :]
                    moved = tl.load(at, mask=some, other=-1e30) - highest[None, :]
                    part = (mean[None, :] - moved)[:, :, None] * part - moment
                    part = tl.exp(moved)[:, :, None] * part
            total += tl.sum(part, axis=0)
        total = total * inverse[:, None]
        for first in range(0, classes, 32):
            column = first + lane
            pull = _pull(few, stats, row[:, None], column[None, :], batch, count, eps, DANCE)
            pull = tl.where((column < classes)[None, :], pull, 0.0)
            at = prototypes + column[:, None] * WIDTH + k[None, :]
            w = tl.load(at, mask=(column < classes)[:, None] & inside, other=0.0)
            total = tl.dot(pull, w, total, input_precision="ieee")
        out = row
        is_out = is_row
    else:
        out = (group - groups) * 16 + tl.arange(0, 16)
        is_out = out < classes
        row = out + batch
    if DANCE or group >= groups:
        # this row is a column of the other samples
        column = tl.where(group < groups, classes + out, out)
        for first in range(0, batch, 32):
            other = first + lane
            pull = _pull(few, stats, other[None, :], column[:, None], batch, count, eps, DANCE)
            if DANCE:
                back = _pull(
                    *(few, stats, out[:, None], classes + other[None, :]),
                    *(batch, count, eps, DANCE),
                )
                pull += tl.where(group < groups, back, 0.0)
            at = features + other[:, None] * WIDTH + k[None, :]
            f = tl.load(at, mask=(other < batch)[:, None] & inside, other=0.0)
            total = tl.dot(pull, f, total, input_precision="ieee")
    at = grads + row[:, None].to(tl.int64) * WIDTH + k[None, :]
    tl.store(at, total * scale, mask=is_out[:, None] & inside)
    if (group == 0) & (tl.program_id(1) == 0):
        entropy = tl.zeros((32,), dtype=tl.float32)
        for first in range(0, batch, 32):
            other = first + lane
            entropy += tl.load(stats + 3 * batch + other, mask=other < batch, other=0.0)
        tl.store(value, tl.sum(entropy, axis=0) / batch)
