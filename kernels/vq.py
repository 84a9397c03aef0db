"""Nearest-code lookup on the GPU.

The score of a code is ``x·e - |e|²/2``, or ``x·e / |e|`` for the cosine: the
distance without the length of x. A program holds BM rows and streams all codes; the distances never
leave its registers. It keeps the best two codes of each row and scores them again in float32, in
the same order of summation for every code: equal codes then tie exactly, and the rounding of the
tensor cores does not decide between these two.

Where the rows alone make too few programs for the GPU, the codes are divided as well: each program
streams its share, and a second kernel takes the best of the shares.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from . import tables
from .launch import launch
from .vq_merge import merge
from .vq_tiles import candidates, span_of

# columns of the second scoring, which holds a row and two codes of each row
_AGAIN = 32
# rows that are a class of their own in the tables
_FEW_ROWS = 64


@triton.jit
def _in_slots(score, tile, best, second, best_at, second_at):
    """Update the two best of each slot; of equal scores the earlier tile stays."""
    wins = score > best
    later = tl.where(score > second, tile, second_at)
    second_at = tl.where(wins, best_at, later)
    second = tl.maximum(second, tl.minimum(score, best))
    best = tl.maximum(best, score)
    best_at = tl.where(wins, tile, best_at)
    return best, second, best_at, second_at


@triton.jit
def _of_row(score, code):
    """Return the highest score of each row and the lowest code that has it."""
    top = tl.max(score, axis=1)
    return top, tl.min(tl.where(score == top[:, None], code, 0x7FFFFFFF), axis=1)


@triton.jit
def _in_tile(score, column, first, best, second, best_code, second_code):
    """Update the two best of each row by the two best of a tile."""
    top, top_at = tl.max(score, axis=1, return_indices=True)
    score = tl.where(column[None, :] == top_at[:, None], float("-inf"), score)
    runner, runner_at = tl.max(score, axis=1, return_indices=True)
    # a later tile wins only with a higher score, because its code indices are higher
    wins = top > best
    keeps = tl.where(wins, best >= runner, second >= top)
    second = tl.where(keeps, tl.where(wins, best, second), tl.where(wins, runner, top))
    second_code = tl.where(
        keeps,
        tl.where(wins, best_code, second_code),
        first + tl.where(wins, runner_at, top_at),
    )
    best = tl.where(wins, top, best)
    best_code = tl.where(wins, first + top_at, best_code)
    return best, second, best_code, second_code


# numbers of rows and codes change from call to call and affect no alignment: do not specialise on
# them
@triton.jit(do_not_specialize=["rows", "count", "span"], do_not_specialize_on_alignment=["mask"])
def vq_lookup_fwd_kernel(
    x,
    codes,
    weights,
    mask,
    out,
    scores,
    rows,
    count,
    width,
    span,
    COSINE: tl.constexpr,
    HAS_MASK: tl.constexpr,
    SHARED: tl.constexpr,
    SLOTS: tl.constexpr,
    SPLIT: tl.constexpr,
    EXACT: tl.constexpr,
    AGAIN: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
    BD: tl.constexpr,
):
    # only used for float32: three tf32 products are as accurate as the order of summation allows
    precision: tl.constexpr = "ieee" if EXACT else "tf32x3"
    row = tl.program_id(0).to(tl.int64) * BM + tl.arange(0, BM)
    is_row = row < rows
    if HAS_MASK:
        is_row &= tl.load(mask + row, mask=is_row, other=0) != 0
    k = tl.arange(0, BD)
    column = tl.arange(0, BN)
    if not SPLIT:
        resident = tl.load(
            x + row[:, None] * width + k[None, :],
            mask=is_row[:, None] & (k < width)[None, :],
            other=0,
        )
        if EXACT:
            resident = resident.to(tl.float32)
    if SLOTS:
        best = tl.full((BM, BN), float("-inf"), tl.float32)
        best_at = tl.zeros((BM, BN), dtype=tl.int32)
    else:
        best = tl.full((BM,), float("-inf"), tl.float32)
        best_at = tl.zeros((BM,), dtype=tl.int32)
    second, second_at = best, best_at
    if SHARED:
        # codes are numbered within the share
        share = tl.program_id(1).to(tl.int64) * span
        codes += share * width
        weights += share
        count = tl.minimum(span, (count - share).to(tl.int32))
    for first in range(0, count, BN):
        code = first + column
        is_code = code < count
        from_code = codes + code.to(tl.int64)[None, :] * width
        # a code beyond the last has the weight of a code that is infinitely far
        far: tl.constexpr = 0.0 if COSINE else float("inf")
        weight = tl.load(weights + code, mask=is_code, other=far)[None, :]
        dot = tl.zeros((BM, BN), dtype=tl.float32)
        if not COSINE:
            dot -= weight
        if SPLIT:
            for begin in range(0, width, BD):
                inner = begin + k
                left = tl.load(
                    x + row[:, None] * width + inner[None, :],
                    mask=is_row[:, None] & (inner < width)[None, :],
                    other=0,
                )
                right = tl.load(
                    from_code + inner[:, None],
                    mask=is_code[None, :] & (inner < width)[:, None],
                    other=0,
                )
                if EXACT:
                    left, right = left.to(tl.float32), right.to(tl.float32)
                dot = tl.dot(left, right, dot, input_precision=precision)
        else:
            right = tl.load(
                from_code + k[:, None], mask=is_code[None, :] & (k < width)[:, None], other=0
            )
            if EXACT:
                right = right.to(tl.float32)
            dot = tl.dot(resident, right, dot, input_precision=precision)
        if COSINE:
            dot = tl.where(is_code[None, :], dot * weight, float("-inf"))
        if SLOTS:
            best, second, best_at, second_at = _in_slots(
                dot, first, best, second, best_at, second_at
            )
        else:
            best, second, best_at, second_at = _in_tile(
                dot, column, first, best, second, best_at, second_at
            )
    if SLOTS:
        best_at += column[None, :]
        _, best_code = _of_row(best, best_at)
        # the second best lies in another slot, or behind the best one in the same slot
        same = best_at == best_code[:, None]
        second_at = tl.where(same, second_at + column[None, :], best_at)
        _, second_code = _of_row(tl.where(same, second, best), second_at)
    else:
        best_code, second_code = best_at, second_at
    # comparisons with NaN are false, so a row of NaN may give an index beyond the last code
    best_code = tl.minimum(best_code, count - 1)
    second_code = tl.minimum(second_code, count - 1)
    again = tl.arange(0, AGAIN)
    best = tl.zeros((BM,), dtype=tl.float32)
    second = tl.zeros((BM,), dtype=tl.float32)
    for begin in range(0, width, AGAIN):
        inner = begin + again
        inside = is_row[:, None] & (inner < width)[None, :]
        value = tl.load(x + row[:, None] * width + inner[None, :], mask=inside, other=0)
        value = value.to(tl.float32)
        where = best_code.to(tl.int64)[:, None] * width + inner[None, :]
        best += tl.sum(value * tl.load(codes + where, mask=inside, other=0).to(tl.float32), axis=1)
        where = second_code.to(tl.int64)[:, None] * width + inner[None, :]
        second += tl.sum(
            value * tl.load(codes + where, mask=inside, other=0).to(tl.float32), axis=1
        )
    best_weight = tl.load(weights + best_code)
    second_weight = tl.load(weights + second_code)
    best = best * best_weight if COSINE else best - best_weight
    second = second * second_weight if COSINE else second - second_weight
    swap = (second > best) | ((second == best) & (second_code < best_code)) | (best != best)
    found = tl.where(swap, second_code, best_code).to(out.dtype.element_ty)
    # no code is nearest to a NaN
    has_code = is_row & ((best == best) | (second == second))
    if SHARED:
        # a few shares of few rows: their number is far below 2^31
        at = tl.program_id(1) * rows + tl.program_id(0) * BM + tl.arange(0, BM)
        tl.store(scores + at, tl.where(swap, second, best), mask=row < rows)
        found += tl.program_id(1) * span
        tl.store(out + at, tl.where(has_code, found, -1), mask=row < rows)
    else:
        tl.store(out + row, tl.where(has_code, found, -1), mask=row < rows)


def nearest(
    x: torch.Tensor,
    codes: torch.Tensor,
    weights: torch.Tensor,
    mask: torch.Tensor | None,
    *,
    cosine: bool,
    exact: bool = False,
) -> torch.Tensor:
    """Return the index of the nearest code, (...) int64, for contiguous tensors on one device.

    It is -1 where the mask is False and where a row contains a NaN.

    Parameters
    ----------
    x : Tensor, (..., D)
    codes : Tensor, (C, D), dtype of `x`
    weights : Tensor, (C,) float32
        Half the squared length of each code or, for the cosine, one over its length.
    mask : Tensor, (...) bool or None
    cosine : bool
    exact : bool
        Multiply in float32; for the interpreter, which multiplies bfloat16 incorrectly.
    """
    out = x.new_empty(x.shape[:-1], dtype=torch.int64)
    rows, count, width = out.numel(), *codes.shape
    if rows == 0:
        return out
    found = candidates(x.dtype, width, tables.capability(x))
    shape = f"{str(x.dtype)[6:]} width {triton.next_power_of_2(width)}"
    shape += " few rows" if rows <= _FEW_ROWS else ""
    taken = tables.choose("vq_lookup", shape, found, x)
    tile = taken.tile
    blocks, tiles = triton.cdiv(rows, tile["BM"]), triton.cdiv(count, tile["BN"])
    span = span_of(blocks, tiles, tables.multiprocessors(x))
    shares, found_in, scores = 1, out, None
    if span is not None:
        shares = triton.cdiv(tiles, span)
        found_in = x.new_empty(shares, rows, dtype=torch.int32)
        scores = x.new_empty(shares, rows, dtype=torch.float32)
    launch(
        vq_lookup_fwd_kernel,
        (blocks, shares),
        x,
        codes,
        weights,
        mask,
        found_in,
        scores,
        rows,
        count,
        width,
        (span or tiles) * tile["BN"],
        COSINE=cosine,
        HAS_MASK=mask is not None,
        SHARED=scores is not None,
        SLOTS=taken.variant == "slots",
        SPLIT=tile["BD"] < width,
        EXACT=exact,
        AGAIN=_AGAIN,
        **tile,
    )
    if scores is not None:
        merge(scores, found_in, out)
    return out
