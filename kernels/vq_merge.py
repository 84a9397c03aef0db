"""Choice among the nearest codes of several shares of a codebook, on the GPU."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from .launch import launch


@triton.jit(do_not_specialize=["rows", "shares"])
def vq_merge_kernel(codes, scores, out, rows, shares, BM: tl.constexpr):
    row = tl.program_id(0).to(tl.int64) * BM + tl.arange(0, BM)
    is_row = row < rows
    best = tl.full((BM,), float("-inf"), dtype=tl.float32)
    found = tl.full((BM,), -1, dtype=tl.int64)
    for share in range(0, shares):
        at = tl.cast(share, tl.int64) * rows + row
        code = tl.load(codes + at, mask=is_row, other=-1)
        score = tl.load(scores + at, mask=is_row, other=0.0)
        # of equal scores the lowest code; -1 marks a row without a code
        wins = (found < 0) | (score > best) | ((score == best) & (code < found))
        wins &= code >= 0
        best = tl.where(wins, score, best)
        found = tl.where(wins, code, found)
    tl.store(out + row, found, mask=is_row)


def merged(codes: torch.Tensor, scores: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
    """Fill `out` (R,) int64 with the code of the highest score, the lowest one of equal scores.

    Parameters
    ----------
    codes : Tensor, (S, R) int64
        The nearest code of each share, -1 where a row has none.
    scores : Tensor, (S, R) float32
    out : Tensor, (..., ) int64
        R elements.
    """
    shares, rows = codes.shape
    grid = (triton.cdiv(rows, 128),)
    launch(vq_merge_kernel, grid, codes, scores, out, rows, shares, BM=128, num_warps=4)
    return out
