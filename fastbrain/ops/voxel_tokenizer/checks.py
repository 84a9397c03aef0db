"""Argument checks of the voxel tokenizer, and the values that its backends receive."""

from __future__ import annotations

from typing import NamedTuple

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
    device = weight.device.type
    if torch.is_autocast_enabled(device) and weight.dtype != torch.float64:
        dtype = torch.get_autocast_dtype(device)
        weight, bias = weight.to(dtype), None if bias is None else bias.to(dtype)
    scale = _checks.finite(function, "scale", scale, low=float("-inf"), high=float("inf"))
    return TokenizeProblem(volumes, weight, bias, grid, mean, inv_std, scale)
