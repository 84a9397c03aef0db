"""Low-rank adapted linear layers and attention.

``y = x Wᵀ + bias + scale · act(x Aᵀ) Bᵀ`` with ``A (r, d_in)`` and ``B (d_out, r)``. Without an
activation this is LoRA (Hu et al. 2021, arXiv 2106.09685, eq. 3); with one it is the nonlinear
low-rank adaptor of LLM4Brain (arXiv 2409.17987, fig. 2), which cannot be merged into ``W``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .. import errors
from . import _checks, _dispatch

Layer = tuple[Tensor, Tensor | None]

ACTIVATIONS = {None: None, "gelu": F.gelu, "silu": F.silu, "relu": F.relu}
TARGETS = ("q", "k", "v", "out")


@dataclass(frozen=True)
class LoraWeights:
    """One adaptor.

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


def reference_linear(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    a: Tensor,
    b: Tensor,
    scale: float,
    activation: str | None,
) -> Tensor:
    """The meaning of :func:`lora_linear`, in plain torch."""
    low = F.linear(x, a)  # (..., r)
    act = ACTIVATIONS[activation]
    if act is not None:
        low = act(low)
    return F.linear(x, weight, bias) + scale * F.linear(low, b)


def reference_attention(
    x: Tensor,
    qkv: Layer,
    out: Layer,
    adaptors: Mapping[str, LoraWeights],
    num_heads: int,
    mask: Tensor | None,
) -> Tensor:
    """The meaning of :func:`lora_attention`, in plain torch."""

    def project(name: str, value: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if name not in adaptors:
            return F.linear(value, weight, bias)
        w = adaptors[name]
        return reference_linear(value, weight, bias, w.a, w.b, w.scale, w.activation)

    batch, length, width = x.shape
    weights = qkv[0].chunk(3)
    biases = (None, None, None) if qkv[1] is None else qkv[1].chunk(3)
    q, k, v = (
        project(name, x, w, bias)
        .reshape(batch, length, num_heads, width // num_heads)
        .transpose(1, 2)  # (B, H, T, E/H)
        for name, w, bias in zip("qkv", weights, biases, strict=True)
    )
    heads = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    return project("out", heads.transpose(1, 2).reshape(batch, length, width), *out)


def lora_linear(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    a: Tensor,
    b: Tensor,
    *,
    scale: float = 1.0,
    activation: str | None = None,
    backend: str | None = None,
) -> Tensor:
    """Linear layer with a low-rank branch beside it.

    ``y = x Wᵀ + bias + scale · act(x Aᵀ) Bᵀ``

    Parameters
    ----------
    x : Tensor, (..., d_in) float
    weight : Tensor, (d_out, d_in)
    bias : Tensor, (d_out,), or None
    a : Tensor, (r, d_in)
    b : Tensor, (d_out, r)
    scale : float
    activation : {None, "gelu", "silu", "relu"}
        What acts between A and B; gelu is the exact one.
    backend : str, optional

    Returns
    -------
    Tensor, (..., d_out), dtype of `x` (of autocast, where it is on)

    Raises
    ------
    InputError
        Shape, dtype, device or activation break the contract.
    BackendError
        The requested backend cannot run these inputs.
    """
    problem = _linear_problem(x, weight, bias, a, b, scale=scale, activation=activation)
    return _dispatch.run(OPERATIONS["lora_linear"], problem, backend)


def lora_attention(
    x: Tensor,
    qkv: Layer,
    out: Layer,
    *,
    adaptors: Mapping[str, LoraWeights],
    num_heads: int,
    mask: Tensor | None = None,
    backend: str | None = None,
) -> Tensor:
    """Self-attention whose projections carry low-rank adaptors; softmax(q kᵀ / sqrt(E/H)) v.

    Parameters
    ----------
    x : Tensor, (B, T, E) float
    qkv : tuple
        Weight (3E, E), rows in the order q, k, v, and bias (3E,) or None.
    out : tuple
        Weight (E, E) and bias (E,) or None.
    adaptors : mapping
        Any of "q", "k", "v", "out" to :class:`LoraWeights`.
    num_heads : int
        Divides E.
    mask : Tensor, (B or 1, H or 1, T, T) bool, optional
        True = the column may be attended to; every row needs one.
    backend : str, optional

    Returns
    -------
    Tensor, (B, T, E)

    Raises
    ------
    InputError
        Shape, dtype, device, name of an adaptor or a wholly masked row.
    BackendError
        The requested backend cannot run these inputs.
    """
    problem = _attention_problem(x, qkv, out, adaptors=adaptors, num_heads=num_heads, mask=mask)
    return _dispatch.run(OPERATIONS["lora_attention"], problem, backend)


def _linear_problem(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    a: Tensor,
    b: Tensor,
    *,
    scale: float = 1.0,
    activation: str | None = None,
    function: str = "lora_linear",
) -> tuple[object, ...]:
    _checks.tensor(function, "x", x, dtypes=_checks.FLOATS)
    if x.dim() < 1:
        raise errors.InputError(f"{function}: x must have a last axis, got a scalar. Unsqueeze it.")
    _checks.tensor(
        function,
        "weight",
        weight,
        (None, x.shape[-1]),
        dtypes=_checks.FLOATS,
        like=x,
        layout="(d_out, d_in)",
    )
    d_out = weight.shape[0]
    _checks.tensor(
        function,
        "a",
        a,
        (None, x.shape[-1]),
        dtypes=_checks.FLOATS,
        like=x,
        layout="(r, d_in)",
    )
    _checks.tensor(function, "b", b, (d_out, a.shape[0]), dtypes=_checks.FLOATS, like=x)
    if bias is not None:
        _checks.tensor(function, "bias", bias, (d_out,), dtypes=_checks.FLOATS, like=x)
    _checks.same_dtype(function, "x", x, weight=weight, bias=bias, a=a, b=b)
    if activation not in ACTIVATIONS:
        raise errors.InputError(
            f"{function}: activation must be None, gelu, silu or relu, got {activation!r}."
        )
    scale = _checks.finite(function, "scale", scale, low=float("-inf"), high=float("inf"))
    return x, weight, bias, a, b, scale, activation


def _attention_problem(
    x: Tensor,
    qkv: Layer,
    out: Layer,
    *,
    adaptors: Mapping[str, LoraWeights],
    num_heads: int,
    mask: Tensor | None = None,
) -> tuple[object, ...]:
    function = "lora_attention"
    _checks.tensor(function, "x", x, (None, None, None), dtypes=_checks.FLOATS, layout="(B, T, E)")
    batch, length, width = x.shape
    if not isinstance(num_heads, int) or num_heads < 1 or width % num_heads:
        raise errors.InputError(
            f"{function}: num_heads must divide the width {width}, got {num_heads!r}."
        )
    for name, (weight, bias), rows in (("qkv", qkv, 3 * width), ("out", out, width)):
        _checks.tensor(function, f"{name}[0]", weight, (rows, width), dtypes=_checks.FLOATS, like=x)
        if bias is not None:
            _checks.tensor(function, f"{name}[1]", bias, (rows,), dtypes=_checks.FLOATS, like=x)
        _checks.same_dtype(function, "x", x, **{f"{name}_weight": weight, f"{name}_bias": bias})
    for name, adaptor in adaptors.items():
        if name not in TARGETS:
            raise errors.InputError(
                f"{function}: adaptors must be named {', '.join(TARGETS)}, got {name!r}."
            )
        _linear_problem(
            x,
            out[0],
            None,
            adaptor.a,
            adaptor.b,
            scale=adaptor.scale,
            activation=adaptor.activation,
            function=f"{function}[{name}]",
        )
    if mask is not None:
        _checks.tensor(function, "mask", mask, (None,) * 4, dtypes=(torch.bool,), like=x)
        if (
            mask.shape[0] not in (1, batch)
            or mask.shape[1] not in (1, num_heads)
            or mask.shape[2:] != (length, length)
        ):
            raise errors.InputError(
                f"{function}: mask must have shape ({batch} or 1, {num_heads} or 1, {length}, "
                f"{length}), got {tuple(mask.shape)}. True marks what may be attended to."
            )
        if _checks.readable(mask) and not bool(mask.any(-1).all()):
            raise errors.InputError(
                f"{function}: mask must leave a column in every row, got a row with none. "
                "Let padded rows attend to themselves."
            )
    return x, qkv, out, adaptors, num_heads, mask


OPERATIONS = {
    "lora_linear": _dispatch.Operation(
        "lora_linear",
        _linear_problem,
        (_dispatch.Backend("reference", _dispatch.anything, reference_linear),),
    ),
    "lora_attention": _dispatch.Operation(
        "lora_attention",
        _attention_problem,
        (_dispatch.Backend("reference", _dispatch.anything, reference_attention),),
    ),
}
