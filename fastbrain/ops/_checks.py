"""Argument checks shared by the ops; each failure raises :class:`InputError` with a remedy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .. import _native
from ..errors import InputError
from ._tensors import DTYPES, ORDINARY

FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
_FINITE = 5000  # above the exponent of any finite number


def tensor(
    function: str,
    name: str,
    value: object,
    shape: Sequence[int | None] | None = None,
    *,
    dtypes: Sequence[torch.dtype] | None = None,
    like: Tensor | None = None,
    layout: str = "",
) -> None:
    """Raise unless `value` is a dense tensor of this shape (None = any size), dtype and device.

    Parameters
    ----------
    function, name : str
        Names of the op and its argument in the message.
    value : object
    shape : sequence of int or None, optional
    dtypes : sequence of dtype, optional
    like : Tensor, optional
        Tensor that must be on the same device.
    layout : str
        Names of the axes, for the message.

    Raises
    ------
    InputError
    """
    if not isinstance(value, Tensor):
        raise InputError(
            f"{function}: {name} must be a torch.Tensor, got {type(value).__name__}. "
            "Convert it with torch.as_tensor."
        )
    if value.layout is not torch.strided or value.is_quantized:
        kind = "quantized" if value.is_quantized else str(value.layout).removeprefix("torch.")
        raise InputError(
            f"{function}: {name} must be a dense tensor, got a {kind} one. "
            f"Call {'dequantize' if value.is_quantized else 'to_dense'}() on it first."
        )
    if shape is not None and (
        value.dim() != len(shape)
        or any(
            want is not None and have != want for have, want in zip(value.shape, shape, strict=True)
        )
    ):
        sizes = ", ".join("any" if n is None else str(n) for n in shape)
        wanted = f"{layout} = ({sizes})" if layout else f"({sizes})"
        raise InputError(
            f"{function}: {name} must have shape {wanted}, got {tuple(value.shape)}. "
            "Check the argument order and the layout."
        )
    if dtypes is not None and value.dtype not in dtypes:
        names = ", ".join(str(d).removeprefix("torch.") for d in dtypes)
        raise InputError(
            f"{function}: {name} must have dtype {names}, got {value.dtype}. Convert it first."
        )
    if like is not None and value.device != like.device:
        raise InputError(
            f"{function}: {name} must be on {like.device}, got {value.device}. Move it there."
        )
    if value.is_meta:
        raise InputError(
            f"{function}: {name} must hold values, got a tensor on the meta device. "
            "Load the weights, or make it on the CPU or a GPU."
        )


def plain(*values: Any) -> bool:
    """Return whether all are dense tensors on the CPU and of no subclass.

    The first of the quick checks of an op, which go before the full ones: these take a noticeable
    share of the time of a small call. False only means that the full checks must tell.
    """
    if torch.compiler.is_compiling():
        return False
    for value in values:
        if type(value) not in ORDINARY or not value.is_cpu or value.layout is not torch.strided:
            return False
    return True


def same_dtype(function: str, first: str, value: Tensor, **others: Tensor | None) -> None:
    """Raise for floating-point tensors of mixed dtype, unless autocast will unify them."""
    if torch.is_autocast_enabled(value.device.type):
        return
    for name, other in others.items():
        if other is not None and other.dtype != value.dtype:
            raise InputError(
                f"{function}: {name} must have the dtype of {first} ({value.dtype}), "
                f"got {other.dtype}. Convert one of them or use torch.autocast."
            )


def finite(function: str, name: str, value: object, *, low: float, high: float) -> float:
    """Check that a number is finite, above `low` and at most `high`, and return it as a float."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InputError(
            f"{function}: {name} must be a number, got {type(value).__name__}. "
            "Pass a Python float; a learned value goes in as .item()."
        )
    # a NaN fails both comparisons
    if not (low < value <= high) or value in (float("inf"), float("-inf")):
        raise InputError(
            f"{function}: {name} must be finite and in ({low}, {high}], got {value}. "
            "Check the configuration."
        )
    return float(value)


def readable(value: Tensor) -> bool:
    """Return whether values can be read now: on the CPU and outside torch.compile."""
    return value.device.type == "cpu" and not torch.compiler.is_compiling()


def all_below(value: Tensor, power: int = _FINITE) -> bool:
    """Return whether all values of a readable tensor are finite and below 2^`power`.

    The dtype of the tensor must be one of `FLOATS`.
    """
    # for a single row a PyTorch reduction would take a large share of the time of a lookup
    value = value.contiguous()
    return _native.all_below(
        value.data_ptr(), DTYPES[value.dtype], value.numel(), power, torch.get_num_threads()
    )


def summable(dtype: torch.dtype, terms: int, *, factors: int = 1) -> int:
    """Exponent of the power of two below which sums of products cannot overflow.

    Parameters
    ----------
    dtype : dtype
        Sums are made in float32, or in float64 for float64.
    terms : int
        Number of products in a sum.
    factors : int
        Number of factors in a product.
    """
    largest = 1023 if dtype == torch.float64 else 127
    # one bit is reserved for the sum of two such sums
    return (largest - 1 - max(terms, 1).bit_length()) // factors


def indices(function: str, name: str, value: object, rows: int, *, like: Tensor) -> None:
    """Raise unless `value` holds (B,) int64 row numbers in [0, `rows`)."""
    tensor(function, name, value, (None,), dtypes=(torch.int64,), like=like, layout="(B,)")
    assert isinstance(value, Tensor)
    if readable(value) and value.numel() and not within(value, rows):
        low, high = (int(v) for v in torch.aminmax(value))
        if low < 0 or high >= rows:
            raise InputError(
                f"{function}: {name} must be in [0, {rows}), got values from {low} to {high}. "
                "They are rows of the memory."
            )


def within(value: Tensor, rows: int) -> bool:
    """Return whether int64 numbers on the CPU are in [0, `rows`)."""
    value = value.contiguous()
    return _native.all_within(value.data_ptr(), value.numel(), rows)
