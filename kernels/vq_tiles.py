"""Candidates of the lookup, and how it divides a codebook over the programs of a GPU."""

from __future__ import annotations

from functools import cache

import torch
import triton

from . import tables
from .tables import Candidate

# programs for each multiprocessor where codes are divided: of most tiles two fit beside each other
_PROGRAMS = 2


@cache
def candidates(dtype: torch.dtype, width: int, capability: int = 90) -> tuple[Candidate, ...]:
    """Return what may run for rows of `dtype` and `width`; none of it spills a register.

    ``tile`` reduces every tile of scores to the two best of each row. ``slots`` keeps the two best
    of every column of the tile and reduces them once, after the last code: fewer operations a
    score, and no exchange between threads in the loop, for more registers. Up to 256 columns (64 of
    float32) the rows stay on the chip; wider ones are read again for every tile of codes.
    `capability` is the compute capability × 10.
    """
    single = dtype == torch.float32
    split = width > (64 if single else 256)
    inner = (32 if single else 64) if split else max(16, triton.next_power_of_2(width))
    # accumulators of wgmma and tcgen05 leave more registers than those of mma.sync
    roomy = 90 <= capability < 120
    if single:
        tiles = [("tile", 64, 32, 4, 2)]
        tiles += [("tile", 128, 64, 8, 2)] if roomy else []
        tiles += [("slots", 64, 32, 4, 2)] if capability <= 90 else []
    else:
        # with tcgen05, 128 rows of 128 numbers do not fit beside a share of the codes
        spilling = inner == 128 and 100 <= capability < 120
        tiles = [("tile", 64, 64, 4, 2)] if inner > 128 or spilling else []
        tiles += [] if spilling else [("tile", 128, 64, 8, 2)]
        tiles += [("slots", 64, 32, 4, 2)]
        if roomy or (inner <= 128 and not split):
            tiles += [("tile", 128, 128, 8, 3)] if capability < 100 or inner > 32 else []
            tiles += [("slots", 128, 64, 8, 2)]
            # rows that are no multiple of 16 are loaded number by number
            tiles += [("tile", 256, 64, 8, 2), ("slots", 128, 32, 4, 3)] if width % 16 == 0 else []
    # float32 is held as three parts of TF32
    size = 7 if single else 2
    limit = tables.shared_memory(capability)
    return tuple(
        Candidate.of(variant, BM=bm, BN=bn, BD=inner, num_warps=warps, num_stages=stages)
        for variant, bm, bn, warps, stages in dict.fromkeys(tiles)
        if ((bm * stages if split else bm) + bn * stages) * inner * size <= limit
    )


def span_of(blocks: int, tiles: int, multiprocessors: int) -> int | None:
    """Return how many tiles of codes a program streams, of `tiles`; None for all of them.

    Only the number of programs that the rows make decides whether codes are divided, so that a
    codebook of another size needs no other binary.
    """
    shares = _PROGRAMS * multiprocessors // blocks
    return triton.cdiv(tiles, shares) if shares > 1 else None
