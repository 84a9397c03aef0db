"""Sums of segments of rows on the GPU, for the update of a codebook.

Rows of one code lie next to each other in `order`; a program adds those of one code in that order,
so that the result is the same in every run.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from .launch import launch


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


def segment_sums(
    x: torch.Tensor, order: torch.Tensor | None, begins: torch.Tensor, ends: torch.Tensor
) -> torch.Tensor:
    """Compute sums (S, D) float32 of rows ``order[begins[s]:ends[s]]`` of `x`, in that order.

    Without `order` they are rows ``begins[s]`` to ``ends[s] - 1``.
    """
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
