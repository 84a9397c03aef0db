"""Adapter weights, argument checks of the adapted layers, and what their backends receive."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import inf
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...errors import InputError
from .. import _checks

Layer = tuple[Tensor, Tensor | None]

ACTIVATIONS = (None, "gelu", "silu", "relu")
TARGETS = ("q", "k", "v", "out")


@dataclass(frozen=True)
class LoraWeights:
    """One adapter.

    Parameters
    ----------
    a : Tensor, (r, d_in)
    b : Tensor, (d_out, r)
    scale : float
    activation : {None, "gelu", "silu", "relu"}
    """

    a: Tensor
    b: Tensor
    scale: float = 1.0
    activation: str | None = None


class LinearProblem(NamedTuple):
    """Checked arguments of ``lora_linear``."""

    x: Tensor
    weight: Tensor
    bias: Tensor | None
    a: Tensor
    b: Tensor
    scale: float
    activation: str | None


class AttentionProblem(NamedTuple):
    """Checked arguments of ``lora_attention``."""

    x: Tensor
    qkv: Layer
    out: Layer
    adapters: Mapping[str, LoraWeights]
    num_heads: int
    mask: Tensor | None


def linear_problem(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    a: Tensor,
    b: Tensor,
    *,
    scale: float = 1.0,
    activation: str | None = None,
    function: str = "lora_linear",
) -> LinearProblem:
    """Check the arguments of an adapted linear layer."""
    # the full checks take a noticeable share of the time of a single row: try the quick ones first
    if not (
        type(scale) is float
        and -inf < scale < inf
        and (activation is None or type(activation) is str)
        and activation in ACTIVATIONS
        and _plainly_right(x, weight, bias, a, b)
    ):
        scale = _look_closely(function, x, weight, bias, a, b, scale, activation)
    if torch.is_autocast_enabled(x.device.type):
        x, weight, bias, a, b = as_autocast(function, x, weight, bias, a, b)
    return LinearProblem(x, weight, bias, a, b, scale, activation)


def attention_problem(
    x: Tensor,
    qkv: Layer,
    out: Layer,
    *,
    adapters: Mapping[str, LoraWeights],
    num_heads: int,
    mask: Tensor | None = None,
) -> AttentionProblem:
    """Check the arguments of adapted attention."""
    function = "lora_attention"
    for name, layer in (("qkv", qkv), ("out", out)):
        if not isinstance(layer, (tuple, list)) or len(layer) != 2:
            raise InputError(
                f"{function}: {name} must be a pair of weight and bias, got "
                f"{type(layer).__name__}. The bias may be None."
            )
    if not isinstance(adapters, Mapping):
        raise InputError(
            f"{function}: adapters must be a mapping, got {type(adapters).__name__}. "
            'Use {"q": LoraWeights(a, b)}.'
        )
    _checks.tensor(function, "x", x, (None, None, None), dtypes=_checks.FLOATS, layout="(B, T, E)")
    batch, length, width = x.shape
    if not isinstance(num_heads, int) or num_heads < 1 or width % num_heads:
        raise InputError(f"{function}: num_heads must divide the width {width}, got {num_heads!r}.")
    for name, (weight, bias), rows in (("qkv", qkv, 3 * width), ("out", out, width)):
        _checks.tensor(function, f"{name}[0]", weight, (rows, width), dtypes=_checks.FLOATS, like=x)
        if bias is not None:
            _checks.tensor(function, f"{name}[1]", bias, (rows,), dtypes=_checks.FLOATS, like=x)
        _checks.same_dtype(function, "x", x, **{f"{name}_weight": weight, f"{name}_bias": bias})
    for name, w in adapters.items():
        if name not in TARGETS:
            raise InputError(
                f"{function}: adapters must be named {', '.join(TARGETS)}, got {name!r}."
            )
        what = f"{function}[{name}]"
        if not isinstance(w, LoraWeights):
            raise InputError(f"{what}: must be LoraWeights, got {type(w).__name__}.")
        linear_problem(
            *(x, out[0], None, w.a, w.b), scale=w.scale, activation=w.activation, function=what
        )
    if mask is not None:
        _check_mask(function, mask, batch, num_heads, length, like=x)
    if torch.is_autocast_enabled(x.device.type):
        x, *qkv_out = as_autocast(function, x, *qkv, *out)
        qkv, out = (qkv_out[0], qkv_out[1]), (qkv_out[2], qkv_out[3])
        adapters = {
            name: replace(w, a=a, b=b)
            for name, w in adapters.items()
            for a, b in [as_autocast(function, w.a, w.b)]
        }
    return AttentionProblem(x, qkv, out, adapters, num_heads, mask)


def as_autocast(function: str, *tensors: Tensor | None) -> list[Any]:
    """Convert tensors to the dtype of the active autocast; float64 tensors are kept."""
    device = tensors[0].device.type if tensors[0] is not None else "cpu"
    dtype = torch.get_autocast_dtype(device)
    doubles = [t is None or t.dtype == torch.float64 for t in tensors]
    if all(doubles):
        return list(tensors)
    if any(d for d, t in zip(doubles, tensors, strict=True) if t is not None):
        raise InputError(
            f"{function}: tensors must all be float64 or none, got a mixture, which autocast "
            "does not unify. Convert them first."
        )
    return [None if t is None else t.to(dtype) for t in tensors]


def _plainly_right(x: Any, weight: Any, bias: Any, a: Any, b: Any) -> bool:
    """Return whether the tensors are valid; if not, :func:`_look_closely` finds the reason."""
    for value in (x, weight, a, b) if bias is None else (x, weight, a, b, bias):
        if not isinstance(value, Tensor) or value.dtype is not x.dtype:
            return False
        if value.device != x.device or value.layout is not torch.strided:
            return False
    if (
        x.is_meta
        or weight.dim() != 2
        or a.dim() != 2
        or x.dim() < 1
        or x.dtype not in _checks.FLOATS
    ):
        return False
    (rows, columns), (rank, depth) = weight.shape, a.shape
    return (
        x.shape[-1] == columns == depth
        and b.shape == (rows, rank)
        and (bias is None or bias.shape == (rows,))
    )


def _look_closely(
    function: str,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    a: Tensor,
    b: Tensor,
    scale: float,
    activation: str | None,
) -> float:
    """Raise for the first invalid argument; return the scale as a float."""

    def check(name: str, value: object, shape: tuple[int | None, ...], layout: str = "") -> None:
        dtypes = _checks.FLOATS
        _checks.tensor(function, name, value, shape, dtypes=dtypes, like=x, layout=layout)

    _checks.tensor(function, "x", x, dtypes=_checks.FLOATS)
    if x.dim() < 1:
        raise InputError(f"{function}: x must have a last axis, got a scalar. Unsqueeze it.")
    check("weight", weight, (None, x.shape[-1]), "(d_out, d_in)")
    check("a", a, (None, x.shape[-1]), "(r, d_in)")
    check("b", b, (weight.shape[0], a.shape[0]))
    if bias is not None:
        check("bias", bias, (weight.shape[0],))
    _checks.same_dtype(function, "x", x, weight=weight, bias=bias, a=a, b=b)
    if not isinstance(activation, (str, type(None))) or activation not in ACTIVATIONS:
        raise InputError(
            f"{function}: activation must be None, gelu, silu or relu, got {activation!r}."
        )
    return _checks.finite(function, "scale", scale, low=-inf, high=inf)


def _check_mask(
    function: str, mask: Tensor, batch: int, heads: int, length: int, *, like: Tensor
) -> None:
    _checks.tensor(function, "mask", mask, (None,) * 4, dtypes=(torch.bool,), like=like)
    if (
        mask.shape[0] not in (1, batch)
        or mask.shape[1] not in (1, heads)
        or mask.shape[2:] != (length, length)
    ):
        raise InputError(
            f"{function}: mask must have shape ({batch} or 1, {heads} or 1, {length}, "
            f"{length}), got {tuple(mask.shape)}. True marks what may be attended to."
        )
    if _checks.readable(mask) and not bool(mask.any(-1).all()):
        raise InputError(
            f"{function}: mask must leave a column in every row, got a row with none. "
            "Let padded rows attend to themselves."
        )
