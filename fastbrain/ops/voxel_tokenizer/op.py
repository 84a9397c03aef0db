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

from ...grid import TokenGrid
from .. import _dispatch
from . import cpu, cuda, patches, quick, triton
from .checks import TokenizeProblem, tokenize_problem


def reference(problem: TokenizeProblem) -> Tensor:
    """Reference implementation of :func:`tokenize_voxels` in plain PyTorch."""
    weight = problem.weight
    offsets = patches.offsets_of(problem.grid, weight.device)
    rows = patches.patches(patches.stored(problem, offsets), weight.dtype)
    with torch.autocast(weight.device.type, enabled=False):
        return F.linear(rows, weight.flatten(1), problem.bias)


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
    Tensor, (B, n_tokens, D), dtype of `weight` (or of autocast, if enabled)
        Only `weight` and `bias` get gradients. Autocast converts them as it does those of
        ``F.linear``: float64 stays, and gradients arrive in their own dtype.

    Notes
    -----
    Sums are in float32 for all dtypes but float64. On the CPU they do not depend on the number of
    threads, except with bfloat16 where the product of torch is the faster way.

    Raises
    ------
    InputError
        Shape, dtype or device break the contract.
    BackendError
        The requested backend cannot run these inputs.
    """
    operation = OPERATIONS["tokenize_voxels"]
    if _dispatch.runs_first(operation, "cpu", backend):
        tokens = quick.tokens(volumes, weight, bias, grid, mean, inv_std, scale)
        if tokens is not None:
            _dispatch.note(operation, "cpu")
            return tokens
    problem = tokenize_problem(
        volumes, weight, bias, grid=grid, mean=mean, inv_std=inv_std, scale=scale
    )
    return _dispatch.run(operation, problem, backend)


OPERATIONS = {
    "tokenize_voxels": _dispatch.Operation(
        "tokenize_voxels",
        tokenize_problem,
        (
            _dispatch.Backend("cuda", cuda.can_run, cuda.call, slower=cuda.slower),
            _dispatch.Backend("triton", triton.can_run, triton.call),
            _dispatch.Backend("cpu", cpu.can_run, cpu.call, cpu.how),
            _dispatch.Backend("reference", _dispatch.anything, reference),
        ),
    ),
}
