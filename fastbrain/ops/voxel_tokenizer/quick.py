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
from . import bfloat16, cpu


class _Plan(NamedTuple):
    """What of a call depends on the grid alone; `native` has the addresses of the tensors."""

    native: Any
    tokens: int
    bases: Tensor
    bits: Tensor


_plans: WeakKeyDictionary[TokenGrid, _Plan] = WeakKeyDictionary()


def tokens(
    volumes: Any, weight: Any, bias: Any, grid: Any, mean: Any, inv_std: Any, scale: Any
) -> Tensor | None:
    """Return the tokens of the C++ kernel, or None where only the full checks can tell."""
    if type(grid) is not TokenGrid or type(scale) is not float or not -inf < scale < inf:
        return None
    if torch.compiler.is_compiling() or torch.is_autocast_enabled("cpu"):
        return None
    plan = _plans.get(grid) or _plan(grid)
    if plan is None:
        return None
    found = plan.native.arguments(volumes, weight, bias, mean, inv_std, scale)
    if found is None:
        return None
    source, weight_at, bias_at, batch, features, half, graded = found
    if (graded and torch.is_grad_enabled()) or (half and not bfloat16.has_kernels()):
        return None
    out = weight.new_empty(batch, plan.tokens, features)
    if half:
        bfloat16.forward(source, weight, bias, out)
        return out
    _native.voxel_tokenizer_forward(
        source, weight_at, bias_at, features, out.data_ptr(), torch.get_num_threads()
    )
    return out


def _plan(grid: TokenGrid) -> _Plan | None:
    """Make the plan of a grid, or return None where the kernel cannot run it."""
    if cpu.too_wide(grid) is not None:
        return None
    bases, bits = cpu.rows_of(grid)
    tokens, rows = bases.shape
    native = _native.VoxelPlan(
        kernel=grid.kernel,
        whole=grid.shape,
        patch_voxels=grid.patch_voxels,
        bases=bases.data_ptr(),
        bits=bits.data_ptr(),
        tokens=tokens,
        rows=rows,
    )
    _plans[grid] = _Plan(native, tokens, bases, bits)
    return _plans[grid]
