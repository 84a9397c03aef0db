"""Short way of the voxel tokenizer on the CPU, for arguments that are plainly right.

For a few patches, the full checks and the choice of a backend take longer than the tokens.
"""

from __future__ import annotations

from math import inf
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from ... import _native
from ...grid import TokenGrid
from .. import _checks
from . import bfloat16, cpu


class _Plan(NamedTuple):
    """What of a call depends on the grid alone; `whole` and `packed` are shapes of a volume."""

    kernel: tuple[int, int, int]
    whole: tuple[int, int, int]
    packed: tuple[int, int]
    bases: Tensor
    bits: Tensor
    addresses: tuple[int, int]
    sizes: tuple[int, int, int]


_plans: WeakKeyDictionary[TokenGrid, _Plan] = WeakKeyDictionary()


def tokens(
    volumes: Any, weight: Any, bias: Any, grid: Any, mean: Any, inv_std: Any, scale: Any
) -> Tensor | None:
    """Return the tokens of the C++ kernel, or None where only the full checks can tell."""
    if type(grid) is not TokenGrid or type(scale) is not float or not -inf < scale < inf:
        return None
    if not _checks.plain(volumes, weight):
        return None
    dtype = weight.dtype
    half = dtype is torch.bfloat16 and bfloat16.has_kernels()
    if not (half or dtype is torch.float32):
        return None
    if weight.dim() != 5 or volumes.dim() < 4:
        return None
    if torch.is_autocast_enabled("cpu"):
        return None
    graded = torch.is_grad_enabled()
    if not weight.is_contiguous() or (graded and weight.requires_grad):
        return None
    is_int16 = volumes.dtype is torch.int16
    if not (is_int16 or volumes.dtype is torch.float32) or not volumes.is_contiguous():
        return None
    plan = _plans.get(grid) or _plan(grid)
    features, frames, *kernel = weight.shape
    batch, given, *shape = volumes.shape
    kept = tuple(shape)
    if plan is None or tuple(kernel) != plan.kernel or not given == frames > 0:
        return None
    if kept != plan.whole and kept != plan.packed:
        return None
    bias_at = 0
    if bias is not None:
        if not _fits(bias, graded, dtype) or bias.shape != (features,):
            return None
        bias_at = bias.data_ptr()
    places = [0, 0]
    packed = [False, False]
    for i, value in enumerate((mean, inv_std)):
        if value is None:
            continue
        if not _fits(value, False) or (value.shape != plan.whole and value.shape != plan.packed):
            return None
        places[i], packed[i] = value.data_ptr(), value.dim() == 2
    tokens, rows, voxels = plan.sizes
    is_packed = len(kept) == 2
    number = tokens * plan.packed[1] if is_packed else voxels
    source = _native.VoxelSource(
        *(volumes.data_ptr(), is_int16, is_packed, places[0], packed[0], places[1], packed[1]),
        *plan.addresses,
        (batch, frames, number, tokens, rows, plan.kernel[2]),
        scale,
    )
    out = weight.new_empty(batch, tokens, features)
    if half:
        bfloat16.forward(source, weight, bias, out)
        return out
    _native.voxel_tokenizer_forward(
        source, weight.data_ptr(), bias_at, features, out.data_ptr(), torch.get_num_threads()
    )
    return out


def _fits(value: Any, graded: bool, dtype: torch.dtype = torch.float32) -> bool:
    return (
        _checks.plain(value)
        and value.dtype is dtype
        and value.is_contiguous()
        and not (graded and value.requires_grad)
    )


def _plan(grid: TokenGrid) -> _Plan | None:
    """Make the plan of a grid, or return None where the kernel cannot run it."""
    if cpu.too_wide(grid) is not None:
        return None
    bases, bits = cpu.rows_of(grid)
    tokens, rows = bases.shape
    kernel, whole = grid.kernel, grid.shape
    _plans[grid] = _Plan(
        (kernel[0], kernel[1], kernel[2]),
        (whole[0], whole[1], whole[2]),
        (grid.n_tokens, grid.patch_voxels),
        *(bases, bits, (bases.data_ptr(), bits.data_ptr())),
        (tokens, rows, whole[0] * whole[1] * whole[2]),
    )
    return _plans[grid]
