"""Normalised patches in plain PyTorch, shared by the backends of the tokenizer."""

from __future__ import annotations

import math
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from ...grid import TokenGrid
from ...layout import TokenLayout
from .._compiling import constant_in_graphs
from .checks import StoredValues, TokenizeProblem

# torch.compile then compiles once for each grid and detects a change of grid
torch.utils._pytree.register_constant(TokenGrid)
torch.utils._pytree.register_constant(TokenLayout)

_Tables = dict[tuple[torch.device, torch.dtype], Tensor]
_offsets: WeakKeyDictionary[TokenGrid, _Tables] = WeakKeyDictionary()


@constant_in_graphs
def offsets_of(grid: TokenGrid, device: torch.device, dtype: torch.dtype = torch.int64) -> Tensor:
    """Return the flat voxel index of every patch element, (n_tokens, P), -1 outside the mask."""
    tables = _offsets.setdefault(grid, {})
    if (device, dtype) not in tables:
        tables[device, dtype] = torch.from_numpy(grid.offsets).to(device, dtype)
    return tables[device, dtype]


def too_large(grid: TokenGrid) -> str | None:
    """Return None, or the reason why offsets into a volume or its patches exceed 32 bits."""
    elements = max(math.prod(grid.shape), grid.n_tokens * grid.patch_voxels)
    if elements >= 1 << 31:
        return f"a volume has {elements} elements; it counts them in 32 bits"
    return None


def gather(values: Tensor, offsets: Tensor) -> Tensor:
    """Gather (..., Z, Y, X) into patches (..., n_tokens, P); patches are returned unchanged."""
    # volumes have 5 or 3 axes, patches 4 or 2
    if values.dim() % 2 == 0:
        return values
    return values.flatten(-3)[..., offsets.clamp_min(0)]


def stored(problem: TokenizeProblem, offsets: Tensor) -> StoredValues:
    """Return the values of a problem; no gradient flows to them."""
    fixed = [
        None if t is None else t.detach() for t in (problem.volumes, problem.mean, problem.inv_std)
    ]
    assert fixed[0] is not None
    return StoredValues(fixed[0], offsets, fixed[1], fixed[2], problem.scale)


def patches(values: StoredValues, dtype: torch.dtype) -> Tensor:
    """Compute rows (B, n_tokens, F·P) of ``(scale · v - mean) · inv_std``; 0 outside the mask."""
    wide = torch.promote_types(dtype, torch.float32)
    offsets = values.offsets
    rows = gather(values.volumes, offsets).to(wide) * values.scale  # (B, F, n_tokens, P)
    if values.mean is not None:
        rows = rows - gather(values.mean, offsets)
    if values.inv_std is not None:
        rows = rows * gather(values.inv_std, offsets)
    # not a product with the mask: a voxel outside may be NaN
    rows = torch.where(offsets >= 0, rows, 0.0).to(dtype)
    return rows.transpose(1, 2).flatten(2)
