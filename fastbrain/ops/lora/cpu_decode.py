"""C++ kernel of an adapted layer for the few rows of a decoding step on the CPU.

It reads the weight once, which dominates the cost of such a step, and adds the low-rank branch to
the same sums. It supports inference in float32 and bfloat16, with sums in float32.
"""

from __future__ import annotations

from math import inf
from types import NoneType
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from ... import _native
from .._dispatch import any_gradient
from .._tensors import ACTIVATIONS, address, contiguous
from .checks import LinearProblem

# Two cores of an EPYC 9004, 768 to 4096 wide, time of the PyTorch matmuls over its own: 1.7 to
# 2.5 for 1 row, 3.0 to 3.3 for 2 and 4, 1.3 to 2.1 for 16, 1.2 to 1.8 for 24. In bfloat16, which it
# multiplies in float32, 1.4 to 4.5 for 1 row, 2.3 to 3.1 for 3 of 768, 0.98 for 4 of 4096.
MOST_ROWS = {torch.float32: 24, torch.bfloat16: 3}
_PLAIN = (Tensor, Parameter)
_library = torch.library.Library("fastbrain", "FRAGMENT")
_library.define(
    "lora_linear_cpu_decode(Tensor x, Tensor weight, Tensor? bias, Tensor a, Tensor b, "
    "float scale, str activation) -> Tensor"
)


def takes(problem: LinearProblem) -> bool:
    """Return whether the kernel supports ``x (M, d_in)`` and these weights."""
    x, weight, bias, a, b, _, _ = problem
    return (
        x.shape[0] <= MOST_ROWS.get(x.dtype, 0)
        # a copy of the weight would cost more than the step
        and weight.is_contiguous()
        and not any_gradient(x, weight, bias, a, b)
    )


def layer(problem: LinearProblem) -> Tensor:
    """Compute ``y (M, d_out)`` of ``x (M, d_in)``."""
    # eager code bypasses the dispatcher, which takes a large share of the time of a narrow layer
    if not torch.compiler.is_compiling():
        return _layer(*problem)
    *arguments, activation = problem
    return torch.ops.fastbrain.lora_linear_cpu_decode(*arguments, activation or "")


def at_once(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    a: Tensor,
    b: Tensor,
    scale: float,
    activation: str | None,
) -> Tensor | None:
    """Compute the layer (..., d_out) of plainly right arguments, or return None.

    For a narrow layer, the full checks and the choice of a backend take longer than the layer.
    """
    if torch.compiler.is_compiling() or torch.is_autocast_enabled("cpu"):
        return None
    graded = torch.is_grad_enabled()
    dtype: Any = getattr(x, "dtype", None)
    most = MOST_ROWS.get(dtype)
    kind = ACTIVATIONS.get(activation or "") if type(activation) in (str, NoneType) else None
    if most is None or kind is None or type(scale) is not float or not -inf < scale < inf:
        return None
    for value in (x, weight, a, b) if bias is None else (x, weight, a, b, bias):
        if (
            type(value) not in _PLAIN
            or value.dtype is not dtype
            or not value.is_cpu
            or value.layout is not torch.strided
            or not value.is_contiguous()
            or (graded and value.requires_grad)
        ):
            return None
    shape = x.shape
    if weight.dim() != 2 or a.dim() != 2 or not shape:
        return None
    (d_out, d_in), (rank, depth) = weight.shape, a.shape
    if (
        not shape[-1] == d_in == depth > 0
        or b.shape != (d_out, rank)
        or (bias is not None and bias.shape != (d_out,))
    ):
        return None
    rows = x.numel() // d_in
    if rows > most:
        return None
    out = x.new_empty((*shape[:-1], d_out))
    _native.lora_few(
        x.data_ptr(), weight.data_ptr(), 0 if bias is None else bias.data_ptr(), a.data_ptr(),
        b.data_ptr(), out.data_ptr(), rows, d_in, d_out, rank, kind, scale,
        dtype is torch.bfloat16, torch.get_num_threads(),
    )  # fmt: skip
    return out


def _layer(x: Tensor, weight: Tensor, *rest: Any) -> Tensor:
    out = _fake(x, weight)
    *tensors, scale, activation = x, weight, *rest
    x, weight, bias, a, b = contiguous(*tensors)
    _native.lora_few(
        *(address(value) for value in (x, weight, bias, a, b, out)),
        *(*x.shape, *b.shape),
        ACTIVATIONS[activation or ""],
        scale,
        x.dtype == torch.bfloat16,
        torch.get_num_threads(),
    )
    return out


def _fake(x: Tensor, weight: Tensor, *_: Any) -> Tensor:
    return x.new_empty(x.shape[0], weight.shape[0])


_library.impl("lora_linear_cpu_decode", _layer, "CPU")
torch.library.register_fake("fastbrain::lora_linear_cpu_decode", _fake, lib=_library)
