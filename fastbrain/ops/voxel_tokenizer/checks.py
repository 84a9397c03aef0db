"""Argument checks of the voxel tokenizer, and the values that its backends receive."""

from __future__ import annotations

from math import inf
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...errors import InputError
from ...grid import TokenGrid
from .. import _checks

STORED = (torch.int16, torch.float32, torch.float16, torch.bfloat16)


class TokenizeProblem(NamedTuple):
    """Checked arguments of ``tokenize_voxels``."""

    volumes: Tensor
    weight: Tensor
    bias: Tensor | None
    grid: TokenGrid
    mean: Tensor | None
    inv_std: Tensor | None
    scale: float


class StoredValues(NamedTuple):
    """Raw values, where each patch finds them, and the statistics that normalise them.

    ``offsets`` is (n_tokens, P), -1 outside the mask.
    """

    volumes: Tensor
    offsets: Tensor
    mean: Tensor | None
    inv_std: Tensor | None
    scale: float


def tokenize_problem(
    volumes: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    grid: TokenGrid,
    mean: Tensor | None = None,
    inv_std: Tensor | None = None,
    scale: float = 1.0,
) -> TokenizeProblem:
    """Check the arguments of ``tokenize_voxels``."""
    if not _plainly_right(volumes, weight, bias, grid, mean, inv_std, scale):
        scale = _look_closely(volumes, weight, bias, grid, mean, inv_std, scale)
    device = weight.device.type
    if torch.is_autocast_enabled(device) and weight.dtype != torch.float64:
        dtype = torch.get_autocast_dtype(device)
        weight, bias = weight.to(dtype), None if bias is None else bias.to(dtype)
    return TokenizeProblem(volumes, weight, bias, grid, mean, inv_std, scale)


def _plainly_right(
    volumes: Any, weight: Any, bias: Any, grid: Any, mean: Any, inv_std: Any, scale: Any
) -> bool:
    """Return whether the arguments are valid; if not, :func:`_look_closely` finds the reason."""
    if not (
        type(scale) is float
        and -inf < scale < inf
        and isinstance(grid, TokenGrid)
        and _checks.plain(volumes, weight, optional=(bias, mean, inv_std))
    ):
        return False
    shape, whole, packed = weight.shape, grid.shape, (grid.n_tokens, grid.patch_voxels)
    return (
        weight.dtype in _checks.FLOATS
        and volumes.dtype in STORED
        and shape[2:] == grid.kernel
        and volumes.shape[1:] in ((shape[1], *whole), (shape[1], *packed))
        and (bias is None or (bias.dtype is weight.dtype and bias.shape == shape[:1]))
        and (mean is None or (mean.dtype is torch.float32 and mean.shape in (whole, packed)))
        and (
            inv_std is None or (inv_std.dtype is torch.float32 and inv_std.shape in (whole, packed))
        )
    )


def _look_closely(
    volumes: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    grid: TokenGrid,
    mean: Tensor | None,
    inv_std: Tensor | None,
    scale: float,
) -> float:
    """Raise for the first invalid argument; return the scale as a float."""
    function = "tokenize_voxels"
    if not isinstance(grid, TokenGrid):
        raise InputError(
            f"{function}: grid must be a TokenGrid, got {type(grid).__name__}. "
            "Make one with TokenGrid.from_mask."
        )
    _checks.tensor(
        function,
        "weight",
        weight,
        (None, None, *grid.kernel),
        dtypes=_checks.FLOATS,
        layout="(D, F, kz, ky, kx)",
    )
    frames = weight.shape[1]
    _checks.tensor(function, "volumes", volumes, dtypes=STORED, like=weight)
    packed = (grid.n_tokens, grid.patch_voxels)
    if volumes.shape[1:] not in ((frames, *grid.shape), (frames, *packed)):
        raise InputError(
            f"{function}: volumes must have shape (B, {frames}, "
            f"{', '.join(str(n) for n in grid.shape)}) or (B, {frames}, {packed[0]}, {packed[1]}), "
            f"got {tuple(volumes.shape)}. The grid must be the one the volumes were made with."
        )
    if bias is not None:
        _checks.tensor(
            function, "bias", bias, weight.shape[:1], dtypes=(weight.dtype,), like=weight
        )
    for name, value in (("mean", mean), ("inv_std", inv_std)):
        if value is None:
            continue
        _checks.tensor(function, name, value, dtypes=(torch.float32,), like=weight)
        if value.shape not in (grid.shape, packed):
            raise InputError(
                f"{function}: {name} must have shape {grid.shape} or {packed}, "
                f"got {tuple(value.shape)}. Use the statistics of the same grid."
            )
    return _checks.finite(function, "scale", scale, low=-inf, high=inf)
