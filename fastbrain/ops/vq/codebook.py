"""Codebooks prepared once for many lookups, and checks of codebooks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ...errors import InputError
from .. import _checks

METRICS = ("euclidean", "cosine")
# exponents of powers of two
_TINY = {torch.float64: -400, **dict.fromkeys((torch.float32, torch.bfloat16, torch.float16), -40)}


@dataclass(frozen=True)
class PackedCodebook:
    """Codebook packed by :func:`pack_codebook`, for :func:`vq_lookup`.

    Parameters
    ----------
    codebook : Tensor, (C, D) float
        The codes that were packed; the packed codebook is stale as soon as they change.
    metric : {"euclidean", "cosine"}
    panels : Tensor, (n,) at least float32, or None
        On the CPU: the codes in the layouts that the kernel reads; None for codes so large or so
        small that a lookup needs float64.
    weights : Tensor, (C,) float32, or None
        On a GPU: half the squared length of each code or, for the cosine, one over its length.
    version : int or None
        Version of `codebook` when it was packed; None where PyTorch does not track versions.
    """

    codebook: Tensor
    metric: str
    panels: Tensor | None
    weights: Tensor | None
    version: int | None


class LookupProblem(NamedTuple):
    """Checked arguments of ``vq_lookup``; `packed` holds `codebook` if it was packed."""

    x: Tensor
    codebook: Tensor
    metric: str
    mask: Tensor | None
    packed: PackedCodebook | None


def check_fresh(function: str, packed: PackedCodebook) -> None:
    """Raise if the codes of a packed codebook have changed; unchecked while compiling."""
    if torch.compiler.is_compiling() or packed.version is None:
        return
    changes = packed.codebook._version - packed.version
    if changes:
        raise InputError(
            f"{function}: codebook must be as it was when it was packed, got one changed "
            f"{changes} times since. Pack it again with pack_codebook."
        )


def weights_of(codes: Tensor, metric: str) -> Tensor:
    """Return half the squared length of each code or, for the cosine, one over its length.

    The result has shape (C,) and dtype float32.

    Zero codes get 0, so that their cosine with anything is 0.
    """
    squares = codes.to(torch.float32).square().sum(dim=1)
    if metric == "euclidean":
        return squares / 2
    return torch.where(squares > 0, squares.rsqrt(), 0.0)


def check_metric(function: str, metric: str) -> None:
    """Raise if the metric is unknown."""
    if not isinstance(metric, str) or metric not in METRICS:
        raise InputError(f"{function}: metric must be 'euclidean' or 'cosine', got {metric!r}.")


def check_codebook(function: str, codebook: Tensor, x: Tensor | None) -> bool:
    """Raise if the codebook is empty, not finite, or does not match the rows of `x`.

    Returns whether products with the codes fit their precision; assumed to be so for codes that
    cannot be read.
    """
    _checks.tensor(
        function,
        "codebook",
        codebook,
        (None, None if x is None else x.shape[-1]),
        dtypes=_checks.FLOATS,
        like=x,
        layout="(C, D)",
    )
    if len(codebook) == 0:
        raise InputError(f"{function}: codebook must hold a code, got none.")
    power = _checks.summable(codebook.dtype, codebook.shape[1], factors=2)
    if not _checks.readable(codebook) or _checks.all_below(codebook, power):
        return True
    if not _checks.all_below(codebook):
        raise InputError(f"{function}: codebook must be finite, got NaN or infinity.")
    if codebook.dtype == torch.float64:
        raise too_large(function, "codebook", power)
    return False


def is_tiny(value: Tensor) -> bool:
    """Return whether all values are so small that their squares underflow; False if unreadable.

    A millionth of such a square must still be a normal number: 2^-80 · 2^-20 in float32.
    """
    return _checks.readable(value) and _checks.all_below(value, _TINY[value.dtype])


def too_large(function: str, name: str, power: int) -> InputError:
    """Return the error for float64 values with products that overflow."""
    return InputError(
        f"{function}: {name} must be below 2^{power}, got values with products beyond float64. "
        "Scale rows and codes down."
    )
