"""Nearest-code lookup and sums of segments on the GPU.

The score of a code is ``x·e - |e|²/2``, or ``x·e / |e|`` for the cosine: the
distance without the length of x. A program holds BM rows and streams all codes; the distances never
leave its registers. It keeps the best two codes of each row and scores them again in float32, in
the same order of summation for every code: equal codes then tie exactly, and the rounding of the
tensor cores does not decide between these two.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl

from .launch import launch

# columns of the second scoring, which holds a row and two codes of each row
_AGAIN = 32


# numbers of rows and codes change from call to call and affect no alignment: do not specialise on
# them
@triton.jit(do_not_specialize=["rows", "count"], do_not_specialize_on_alignment=["mask"])
def vq_lookup_fwd_kernel(
    x,
    codes,
    weights,
    mask,
    out,
    rows,
    count,
    width,
    COSINE: tl.constexpr,
    HAS_MASK: tl.constexpr,
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
    best = tl.full((BM,), float("-inf"), tl.float32)
    second = tl.full((BM,), float("-inf"), tl.float32)
    best_code = tl.zeros((BM,), dtype=tl.int32)
    second_code = tl.zeros((BM,), dtype=tl.int32)
    for first in range(0, count, BN):
        code = first + column
        is_code = code < count
        from_code = codes + code.to(tl.int64)[None, :] * width
        if SPLIT:
            dot = tl.zeros((BM, BN), dtype=tl.float32)
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
            dot = tl.dot(resident, right, input_precision=precision)
        weight = tl.load(weights + code, mask=is_code, other=0)[None, :]
        score = dot * weight if COSINE else dot - weight
        score = tl.where(is_code[None, :], score, float("-inf"))
        # the two best codes of the tile; of equal ones the lower comes first
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
    found = tl.where(swap, second_code, best_code).to(tl.int64)
    # no code is nearest to a NaN
    has_code = is_row & ((best == best) | (second == second))
    tl.store(out + row, tl.where(has_code, found, -1), mask=row < rows)


@triton.jit(do_not_specialize_on_alignment=["order", "begins", "ends"])
def vq_update_sums_kernel(
    x, order, begins, ends, out, width, HAS_ORDER: tl.constexpr, BR: tl.constexpr, BD: tl.constexpr
):
    segment = tl.program_id(0).to(tl.int64)
    k = tl.program_id(1) * BD + tl.arange(0, BD)
    first = tl.load(begins + segment)
    end = tl.load(ends + segment)
    total = tl.zeros((BD,), dtype=tl.float32)
    while first < end:
        row = first + tl.arange(0, BR)
        is_row = row < end
        if HAS_ORDER:
            row = tl.load(order + row, mask=is_row, other=0)
        value = tl.load(
            x + row[:, None] * width + k[None, :],
            mask=is_row[:, None] & (k < width)[None, :],
            other=0,
        )
        total += tl.sum(value.to(tl.float32), axis=0)
        first += BR
    tl.store(out + segment * width + k, total, mask=k < width)


def blocks(dtype: torch.dtype, width: int) -> dict[str, Any]:
    """Return tile sizes, warps and stages for rows of `dtype` and `width`.

    These are large tiles that fit into the registers on sm_80, sm_90 and sm_100. Up to 256 columns
    (64 of float32) the rows stay on the chip; wider ones are read again for every tile of codes.
    """
    single = dtype == torch.float32
    split = width > (64 if single else 256)
    inner = (32 if single else 64) if split else max(16, triton.next_power_of_2(width))
    sizes = {"BM": 64 if single or inner > 128 else 128, "BN": 32 if single else 64}
    warps = sizes["BM"] // 16
    return {"SPLIT": split, **sizes, "BD": inner, "num_warps": warps, "num_stages": 2}


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
    if out.numel() == 0:
        return out
    tile = blocks(x.dtype, x.shape[-1])
    launch(
        vq_lookup_fwd_kernel,
        (triton.cdiv(out.numel(), tile["BM"]),),
        x,
        codes,
        weights,
        mask,
        out,
        out.numel(),
        codes.shape[0],
        x.shape[-1],
        COSINE=cosine,
        HAS_MASK=mask is not None,
        EXACT=exact,
        AGAIN=_AGAIN,
        **tile,
    )
    return out


def segment_sums(
    x: torch.Tensor, order: torch.Tensor | None, begins: torch.Tensor, ends: torch.Tensor
) -> torch.Tensor:
    """Compute sums (S, D) float32 of rows ``order[begins[s]:ends[s]]`` of `x`, in that order."""
    width = x.shape[-1]
    out = x.new_empty(begins.shape[0], width, dtype=torch.float32)
    if out.numel() == 0:
        return out
    tile = _sum_blocks(width)
    grid = (begins.shape[0], triton.cdiv(width, tile["BD"]))
    tensors = x, order, begins, ends, out
    launch(vq_update_sums_kernel, grid, *tensors, width, HAS_ORDER=order is not None, **tile)
    return out


def _sum_blocks(width: int) -> dict[str, int]:
    return {"BR": 16, "BD": min(128, triton.next_power_of_2(width)), "num_warps": 4}
