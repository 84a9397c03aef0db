"""Candidates of the sweeps over the memory, and tiles of the product that follows them."""

from __future__ import annotations

from functools import cache

import torch
import triton

from . import tables
from .tables import Candidate


@cache
def candidates(
    width: int, dual: bool, exact: bool, capability: int, scored: bool = False
) -> tuple[Candidate, ...]:
    """Return what may sweep over rows of `width`, `exact` for float32 products.

    None spills a register; with both products in registers the inner block is the whole row. From
    64 samples on sm_90 and sm_100 multiply from shared memory; others from registers, which hold
    fewer samples. `capability` is that of the GPU × 10. With `scored`, PyTorch may compute the
    products with the memory (``products``), which is first where not both of ours stay in
    registers: on an H200 two products of such rows took a fifth of the time of our sweeps, or less.
    """
    inner = max(16, triton.next_power_of_2(width))
    if dual and exact:
        tiles = [(16, 32, inner, 8, 1)]
    elif dual and capability // 10 in (9, 10):
        # 64 columns of 256 numbers spill on sm_90
        tiles = [(64, 64 if inner <= 128 else 32, inner, 8, 2), (32, 32, inner, 8, 2)]
    elif dual or exact:
        tiles = [(32, 32, inner, 8, 2) if dual else (64, 64, 32, 8, 2)]
    else:
        tiles = [(64, 64, 64, 4, 3), (64, 128, 64, 8, 3), (64, 64, 64, 8, 3)]
    found = [
        Candidate.of("sweep", BB=bb, BN=bn, BK=bk, num_warps=warps, num_stages=stages)
        for bb, bn, bk, warps, stages in tiles
    ]
    if scored:
        # the block of the norms, for which the memory is read
        bk = 32 if exact else 128
        products = Candidate.of("products", BB=64, BN=64, BK=bk, num_warps=8, num_stages=2)
        found.insert(len(found) if dual and not exact else 0, products)
    return tuple(found)


def taken(memory: torch.Tensor, *, dual: bool, exact: bool, scored: bool) -> Candidate:
    """Return the candidate of a sweep over a memory; arguments as of :func:`candidates`."""
    found = candidates(memory.shape[1], dual, exact, tables.capability(memory), scored)
    kind = f"{'dual ' if dual else ''}{'exact ' if exact else ''}width {memory.shape[1]}"
    kind += "" if scored else " streamed"
    return tables.choose("neighborhood_sweep", f"{str(memory.dtype)[6:]} {kind}", found, memory)


def product_blocks(*, exact: bool) -> dict[str, int]:
    """Return tile sizes, warps and stages of the product, `exact` for float32."""
    if exact:
        return {"BB": 32, "BD": 64, "BN": 32, "num_warps": 4, "num_stages": 2}
    return {"BB": 64, "BD": 128, "BN": 64, "num_warps": 4, "num_stages": 3}
