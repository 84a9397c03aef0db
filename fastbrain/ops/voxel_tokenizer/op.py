"""Voxel tokenizer: a masked, strided 3-D convolution of raw scanner values.

``y[b, i] = bias + Σ_{f, k in patch i} W[:, f, k] · (scale · v[b, f, k] - mean[k]) · inv_std[k]``,
a ``nn.Conv3d(F, D, kernel, stride)`` over normalised volumes that visits only kept patches and
counts voxels outside the mask as 0 (the 3-D-CNN tokenizer of LLM4Brain, arXiv 2409.17987, 3.1).
Values are normalised in float32 before any cast: raw intensities rounded to bfloat16 lose a tenth
of the BOLD signal.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ...errors import InputError
from ...grid import TokenGrid
from .. import _checks, _dispatch
from . import cpu, cuda, patches, triton

STORED = (torch.int16, torch.float32, torch.float16, torch.bfloat16)


def reference(
    volumes: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    grid: TokenGrid,
    mean: Tensor | None,
    inv_std: Tensor | None,
    scale: float,
) -> Tensor:
    """Reference implementation of :func:`tokenize_voxels` in plain PyTorch."""
    offsets = patches.offsets_of(grid, weight.device)
    rows = patches.patches(volumes, offsets, mean, inv_std, scale, weight.dtype)
    with torch.autocast(weight.device.type, enabled=False):
        return F.linear(rows, weight.flatten(1), bias)


def tokenize_voxels(
    volumes: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    grid: TokenGrid,
    mean: Tensor | None = None,
    inv_std: Tensor | None = None,
    scale: float = 1.0,
    backend: str | None = None,
) -> Tensor:
    """Compute one token for each kept patch of each window.

    Parameters
    ----------
    volumes : Tensor, (B, F, Z, Y, X) or (B, F, n_tokens, P) int16, float32, float16 or bfloat16
        Stored values of B windows of F volumes; the second form is the result of ``grid.pack``.
    weight : Tensor, (D, F, kz, ky, kx) float
    bias : Tensor, (D,), optional
    grid : TokenGrid
    mean, inv_std : Tensor, (Z, Y, X) or (n_tokens, P) float32, optional
        Per-voxel statistics in units of scale times the stored value; default 0 and 1.
    scale : float
        Size of one step of the stored values.
    backend : str, optional

    Returns
    -------
    Tensor, (B, n_tokens, D), dtype of `weight`
        Only `weight` and `bias` get gradients.

    Raises
    ------
    InputError
        Shape, dtype or device break the contract.
    BackendError
        The requested backend cannot run these inputs.
    """
    problem = _problem(volumes, weight, bias, grid=grid, mean=mean, inv_std=inv_std, scale=scale)
    return _dispatch.run(OPERATIONS["tokenize_voxels"], problem, backend)


def _problem(
    volumes: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    grid: TokenGrid,
    mean: Tensor | None = None,
    inv_std: Tensor | None = None,
    scale: float = 1.0,
) -> tuple[object, ...]:
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
    scale = _checks.finite(function, "scale", scale, low=float("-inf"), high=float("inf"))
    return volumes, weight, bias, grid, mean, inv_std, scale


OPERATIONS = {
    "tokenize_voxels": _dispatch.Operation(
        "tokenize_voxels",
        _problem,
        (
            _dispatch.Backend("cuda", cuda.can_run, cuda.call),
            _dispatch.Backend("triton", triton.can_run, triton.call),
            _dispatch.Backend("cpu", cpu.can_run, cpu.call),
            _dispatch.Backend("reference", _dispatch.anything, reference),
        ),
    ),
}
