"""Argument checks of the neighbourhood ops, and the values that their backends receive."""

from __future__ import annotations

from math import inf
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ... import _native
from ...errors import InputError
from .. import _checks
from .._tensors import DTYPES

VARIANTS = ("paper", "dance")
# half-precision unit vectors have norms this far from one
NORM_TOLERANCE = 2e-2
# numbers up to which one thread checks norms before others have begun
_FEW = 1 << 13


class ClusteringProblem(NamedTuple):
    """Checked arguments of ``neighborhood_clustering``."""

    features: Tensor
    prototypes: Tensor
    memory: Tensor
    indices: Tensor
    temperature: float
    variant: str


class UpdateProblem(NamedTuple):
    """Checked arguments of ``memory_update_``."""

    memory: Tensor
    features: Tensor
    indices: Tensor
    momentum: float


class SeparationProblem(NamedTuple):
    """Checked arguments of ``entropy_separation``."""

    logits: Tensor
    rho: float
    margin: float


def clustering(
    features: Tensor,
    prototypes: Tensor,
    memory: Tensor,
    indices: Tensor,
    *,
    temperature: float,
    variant: str,
) -> ClusteringProblem:
    """Check the arguments of ``neighborhood_clustering``."""
    if _plainly_right(features, prototypes, memory, indices, temperature, variant):
        return ClusteringProblem(features, prototypes, memory, indices, temperature, variant)
    function = "neighborhood_clustering"
    _checks.tensor(function, "features", features, (None, None), dtypes=_checks.FLOATS)
    batch, width = features.shape
    if batch == 0:
        raise InputError(
            f"{function}: features must hold a sample, got none: a mean over nothing is undefined."
        )
    for name, value in (("prototypes", prototypes), ("memory", memory)):
        _checks.tensor(
            function,
            name,
            value,
            (None, width),
            dtypes=_checks.FLOATS,
            like=features,
            layout="(rows, D)",
        )
    if len(prototypes) == 0:
        raise InputError(f"{function}: prototypes must hold a class, got none.")
    _checks.indices(function, "indices", indices, len(memory), like=features)
    if len(indices) != batch:
        raise InputError(f"{function}: indices must have shape ({batch},), got ({len(indices)},).")
    if not isinstance(variant, str) or variant not in VARIANTS:
        raise InputError(f"{function}: variant must be 'paper' or 'dance', got {variant!r}.")
    temperature = _checks.finite(function, "temperature", temperature, low=0.0, high=float("inf"))
    # the backends check the rows of the memory as they read them: a separate pass costs too much
    if _checks.readable(features):
        for name, value in (("features", features), ("prototypes", prototypes)):
            low, high = _range(_norms(value))
            if not _are_unit(low, high):
                raise InputError(
                    f"{function}: {name} must have rows of norm 1, got norms from "
                    f"{low:.4g} to {high:.4g}. Pass it through torch.nn.functional.normalize."
                )
    return ClusteringProblem(features, prototypes, memory, indices, temperature, variant)


def _plainly_right(
    features: Any, prototypes: Any, memory: Any, indices: Any, temperature: Any, variant: Any
) -> bool:
    """Return whether the arguments are valid; if not, the full checks find the reason."""
    if not (
        type(temperature) is float
        and 0 < temperature < inf
        and type(variant) is str
        and variant in VARIANTS
        and _checks.plain(features, prototypes, memory, indices)
        and features.dim() == prototypes.dim() == memory.dim() == 2
    ):
        return False
    batch, width = features.shape
    return (
        features.dtype in _checks.FLOATS
        and prototypes.dtype in _checks.FLOATS
        and memory.dtype in _checks.FLOATS
        and prototypes.shape[1] == memory.shape[1] == width
        and batch > 0
        and prototypes.shape[0] > 0
        and indices.dtype is torch.int64
        and indices.shape == (batch,)
        and _checks.within(indices, memory.shape[0])
        and _has_unit_rows(features)
        and _has_unit_rows(prototypes)
    )


def _has_unit_rows(value: Tensor) -> bool:
    """Return whether a tensor on the CPU has rows of norm 1 within the tolerance."""
    if DTYPES[value.dtype] not in (0, 3) or value.numel() > _FEW or not value.is_contiguous():
        # the norm of a single number is its size
        value = _norms(value)[:, None]
    return _native.all_unit(value.data_ptr(), DTYPES[value.dtype], *value.shape, NORM_TOLERANCE)


def update(memory: Tensor, features: Tensor, indices: Tensor, *, momentum: float) -> UpdateProblem:
    """Check the arguments of ``memory_update_``."""
    function = "memory_update_"
    _checks.tensor(function, "memory", memory, (None, None), dtypes=_checks.FLOATS)
    _checks.indices(function, "indices", indices, len(memory), like=memory)
    _checks.tensor(
        function,
        "features",
        features,
        (len(indices), memory.shape[1]),
        dtypes=_checks.FLOATS,
        like=memory,
    )
    if memory.requires_grad:
        raise InputError(
            f"{function}: memory must be a buffer, got a tensor that requires gradients. Detach it."
        )
    if not isinstance(momentum, (int, float)) or not 0 <= momentum < 1:
        raise InputError(f"{function}: momentum must be in [0, 1), got {momentum!r}.")
    ordered = indices.sort().values
    repeats = (ordered[1:] == ordered[:-1]).any()
    if _checks.readable(indices):
        if bool(repeats):
            raise InputError(
                f"{function}: indices must name each row once, got duplicates. "
                "Draw a batch without replacement."
            )
        if not bool(features.isfinite().all()):
            raise InputError(f"{function}: features must be finite, got NaN or infinity.")
    elif not torch.compiler.is_compiling():
        # a device-side assertion: no synchronisation
        torch._assert_async(~repeats, f"{function}: indices must name each row once")
    return UpdateProblem(memory, features, indices, float(momentum))


def separation(logits: Tensor, *, rho: float, margin: float) -> SeparationProblem:
    """Check the arguments of ``entropy_separation``."""
    function = "entropy_separation"
    _checks.tensor(function, "logits", logits, (None, None), dtypes=_checks.FLOATS, layout="(B, C)")
    if 0 in logits.shape:
        raise InputError(
            f"{function}: logits must hold a sample and a class, got {tuple(logits.shape)}."
        )
    rho = _checks.finite(function, "rho", rho, low=float("-inf"), high=float("inf"))
    if not isinstance(margin, (int, float)) or not 0 <= margin < float("inf"):
        raise InputError(f"{function}: margin must be finite and >= 0, got {margin!r}.")
    return SeparationProblem(logits, rho, float(margin))


def memory(memory: Tensor) -> None:
    """Raise for rows with a norm other than 0 or 1, for a backend that does not check them."""
    if not _checks.readable(memory):
        return
    norms = _norms(memory)
    if not len(norms) or _are_unit(*_range(norms)):
        return
    # written so that a NaN is an error
    wrong = (norms != 0) & ~((norms - 1).abs() <= NORM_TOLERANCE)
    if bool(wrong.any()):
        row = int(wrong.nonzero()[0])
        raise not_unit(row, float(norms[row]))


def not_unit(row: int, norm: float) -> InputError:
    """Return the error for a row of the memory with a norm other than 0 or 1."""
    return InputError(
        f"neighborhood_clustering: memory must have rows of norm 1 or 0, got norm {norm:.4g} in "
        f"row {row}. Pass it through torch.nn.functional.normalize."
    )


def norms_of(rows: Tensor, out: Tensor) -> None:
    """Write the norms (N,) of rows (N, D) on the CPU, in float32 or float64 as `out` is.

    PyTorch takes those of bfloat16 more slowly than it multiplies them.
    """
    if rows.stride(1) != 1 or rows.stride(0) < rows.shape[1]:
        rows = rows.contiguous()
    double = out.dtype == torch.float64
    measure = _native.neighborhood_norms_double if double else _native.neighborhood_norms
    measure(
        values=rows.data_ptr(),
        stored=DTYPES[rows.dtype],
        size=rows.shape[0],
        width=rows.shape[1],
        step=max(rows.stride(0), rows.shape[1]),
        norms=out.data_ptr(),
        threads=torch.get_num_threads(),
    )


def _norms(rows: Tensor) -> Tensor:
    """Return the norms of rows that can be read."""
    norms = rows.new_empty(rows.shape[0], dtype=torch.promote_types(rows.dtype, torch.float32))
    norms_of(rows, norms)
    return norms


def _range(values: Tensor) -> tuple[float, float]:
    """Return the smallest and largest value; a NaN makes both NaN."""
    low, high = torch.aminmax(values)
    return float(low), float(high)


def _are_unit(low: float, high: float) -> bool:
    """Return whether norms in this range are 1 within the tolerance; False for NaN."""
    return low >= 1 - NORM_TOLERANCE and high <= 1 + NORM_TOLERANCE
