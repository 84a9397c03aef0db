"""Best code of each row over the shares of a divided codebook."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from .launch import launch

_TILE = {"BR": 16, "BP": 32, "num_warps": 4}


@triton.jit(do_not_specialize=["rows", "shares"])
def vq_lookup_merge_kernel(scores, codes, out, rows, shares, BR: tl.constexpr, BP: tl.constexpr):
    row = tl.program_id(0).to(tl.int64) * BR + tl.arange(0, BR)
    none: tl.constexpr = 0x7FFFFFFF
    best = tl.full((BR,), float("-inf"), tl.float32)
    best_code = tl.full((BR,), none, tl.int32)
    for begin in range(0, shares, BP):
        share = begin + tl.arange(0, BP)
        at = share[:, None].to(tl.int64) * rows + row[None, :]
        inside = (share < shares)[:, None] & (row < rows)[None, :]
        code = tl.load(codes + at, mask=inside, other=-1)
        score = tl.load(scores + at, mask=inside, other=float("-inf"))
        score = tl.where(code >= 0, score, float("-inf"))
        top = tl.max(score, axis=0)
        of_top = (code >= 0) & (score == top[None, :])
        top_code = tl.min(tl.where(of_top, code, none), axis=0)
        # of equal scores the lower code, which an earlier share holds
        wins = (top > best) | (best_code == none)
        best_code = tl.where(wins, top_code, best_code)
        best = tl.maximum(best, top)
    tl.store(out + row, tl.where(best_code == none, -1, best_code).to(tl.int64), mask=row < rows)


def merge(scores: torch.Tensor, codes: torch.Tensor, out: torch.Tensor) -> None:
    """Write the code with the highest score, of equal ones the lowest code, and -1 where none is.

    Parameters
    ----------
    scores : Tensor, (S, M) float32
        Best score of each share.
    codes : Tensor, (S, M) int32
        The code that has it, or -1.
    out : Tensor, (M,) int64
        Written.
    """
    shares, rows = codes.shape
    blocks = triton.cdiv(rows, _TILE["BR"])
    launch(vq_lookup_merge_kernel, (blocks,), scores, codes, out, rows, shares, **_TILE)
