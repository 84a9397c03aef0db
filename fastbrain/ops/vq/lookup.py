"""Vector quantisation: the nearest code of a codebook.

``argmin_c ||x - e_c||²`` (van den Oord et al. 2017, arXiv 1711.00937, eq. 1) or, for the cosine,
``argmax_c x·e_c / (||x|| ||e_c||)``, which is 0 where either is zero. In plain torch
``torch.cdist(x, codebook).argmin(-1)``, without the matrix of distances.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ...errors import InputError
from .. import _checks, _dispatch
from . import cpu, cuda, quick, triton
from .codebook import (
    LookupProblem,
    PackedCodebook,
    check_codebook,
    check_fresh,
    check_metric,
    is_tiny,
    too_large,
)
from .update import check_rows

_CHUNK_ELEMENTS = 1 << 22


def reference(problem: LookupProblem) -> Tensor:
    """Reference implementation of :func:`vq_lookup` in plain PyTorch."""
    x, codebook, metric, mask, _ = problem
    rows = x.detach().reshape(-1, x.shape[-1]).to(torch.float64)
    codes = codebook.detach().to(torch.float64)
    if metric == "cosine":
        rows, codes = cpu.unit(rows), cpu.unit(codes)
    squares = codes.square().sum(dim=1)
    nearest = []
    for part in rows.split(max(1, _CHUNK_ELEMENTS // len(codes))):
        distance = -part @ codes.T
        if metric == "euclidean":
            distance = part.square().sum(dim=1, keepdim=True) + squares + 2 * distance
        # rounded from float64, so that equal codes tie for any order of summation; scaled by a
        # power of two before, so that no row exceeds the range of float32
        power = -distance.abs().amax(dim=1, keepdim=True).frexp().exponent.to(torch.float64)
        nearest.append((distance * power.exp2()).to(torch.float32).argmin(dim=1))
    found = torch.cat(nearest).reshape(x.shape[:-1])
    return found if mask is None else torch.where(mask, found, -1)


def vq_lookup(
    x: Tensor,
    codebook: Tensor | PackedCodebook,
    *,
    metric: str = "euclidean",
    mask: Tensor | None = None,
    backend: str | None = None,
) -> Tensor:
    """Return the index of the nearest code; ties go to the lowest index.

    Equal codes are equally near on every backend. Backends other than the reference sum in float32.
    They sum in float64 if the tensors are float64 or, on the CPU, if products in float32 would
    overflow or all values are so small that their squares underflow. The reference sums in float64
    and compares in float32. If the squared distances of two codes differ by less than a millionth
    of ``||x||² + ||e||²``, or by less than 1e-38 in a codebook with larger codes, a backend may
    return either.

    Parameters
    ----------
    x : Tensor, (..., D) float
    codebook : Tensor, (C, D) float, or PackedCodebook
        :func:`pack_codebook` packs it once for many lookups of few rows.
    metric : {"euclidean", "cosine"}
    mask : Tensor, (...) bool, optional
        False marks rows without a code; their values are never used.
    backend : str, optional

    Returns
    -------
    Tensor, (...) int64
        -1 where masked. On a GPU it is also -1 for a row with a NaN: such a row raises no error
        there, because the check would wait for the device.

    Raises
    ------
    InputError
        Shape, dtype, device or metric is invalid, an unmasked row or a code is not finite or, in
        float64, too large to be squared, or the packed codebook is stale. On a GPU values are not
        read: there rows and codes must be finite, below 1e16, and not all smaller than 1e-12.
    BackendError
        The requested backend cannot run these inputs.
    """
    operation = OPERATIONS["vq_lookup"]
    if _dispatch.runs_first(operation, "cpu", backend):
        found = quick.nearest(x, codebook, metric, mask)
        if found is not None:
            _dispatch.note(operation, "cpu")
            return found
    problem = _problem(x, codebook, metric=metric, mask=mask)
    return _dispatch.run(operation, problem, backend)


def _problem(
    x: Tensor,
    codebook: Tensor | PackedCodebook,
    *,
    metric: str = "euclidean",
    mask: Tensor | None = None,
) -> LookupProblem:
    function = "vq_lookup"
    power = _power(x)
    fits = check_rows(function, x, mask, power)
    check_metric(function, metric)
    packed = None
    if isinstance(codebook, PackedCodebook):
        packed, codebook = codebook, codebook.codebook
        check_fresh(function, packed)
        if packed.metric != metric:
            raise InputError(
                f"{function}: metric must be the one the codebook was packed for "
                f"('{packed.metric}'), got '{metric}'. Pass it here too, or pack again."
            )
        _checks.tensor(function, "codebook", codebook, (None, x.shape[-1]), like=x)
    else:
        fits = check_codebook(function, codebook, x) and fits
    _checks.same_dtype(function, "x", x, codebook=codebook)
    # the cosine does not depend on the length of codes, but products with short rows underflow
    tiny = is_tiny(codebook if metric == "euclidean" else x)
    if packed is not None and packed.panels is None and codebook.is_cpu and not tiny:
        fits = False
    if fits and not tiny:
        return LookupProblem(x, codebook, metric, mask, packed)
    if torch.float64 not in (x.dtype, codebook.dtype):
        return LookupProblem(x.double(), codebook.double(), metric, mask, None)
    if not fits:
        raise too_large(function, "x", power)
    factor = _enlarging(x, codebook)
    return LookupProblem(x.double() * factor, codebook.double() * factor, metric, mask, None)


def _enlarging(*values: Tensor) -> float:
    """Return a power of two, at least 1, that scales the largest value to about 1.

    It is at most 2^1000; NaN counts as 0.
    """
    largest = max(float(v.abs().nan_to_num(0.0).amax()) for v in values if v.numel())
    return 2.0 ** min(max(-math.frexp(largest)[1], 0), 1000)


def _power(x: Any) -> int:
    """Return the exponent of the power of two below which products cannot overflow."""
    if not isinstance(x, Tensor) or x.dim() < 1:
        return 0  # refused by the checks that follow
    return _checks.summable(x.dtype, x.shape[-1], factors=2)


OPERATIONS = {
    "vq_lookup": _dispatch.Operation(
        "vq_lookup",
        _problem,
        (
            _dispatch.Backend("cuda", cuda.can_run, cuda.call, slower=cuda.slower),
            _dispatch.Backend("triton", triton.can_run, triton.call),
            _dispatch.Backend("cpu", cpu.can_run, cpu.call),
            _dispatch.Backend("reference", _dispatch.anything, reference),
        ),
    ),
}
