"""C++ kernel of an adapted layer for the few rows of a decoding step on the CPU.

It reads the weight once, which dominates the cost of such a step, and adds the low-rank branch to
the same sums. It supports inference in float32 only.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ... import _native
from .._dispatch import any_gradient

# Two cores of an EPYC 9004, 768 to 4096 wide, time of the PyTorch matmuls over its own: 1.7 to
# 2.5 for 1 row, 3.0 to 3.3 for 2 and 4, 1.3 to 2.1 for 16, 1.2 to 1.8 for 24
MOST_ROWS = 24
# numbered as in csrc/lora.h
_ACTIVATIONS = {"": 0, "gelu": 1, "silu": 2, "relu": 3}

_library = torch.library.Library("fastbrain", "FRAGMENT")
_library.define(
    "lora_linear_cpu_decode(Tensor x, Tensor weight, Tensor? bias, Tensor a, Tensor b, "
    "float scale, str activation) -> Tensor"
)


def takes(rows: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor) -> bool:
    """Return whether the kernel supports ``rows (M, d_in)`` and these weights."""
    return (
        rows.shape[0] <= MOST_ROWS
        and rows.dtype == torch.float32
        # a copy of the weight would cost more than the step
        and weight.is_contiguous()
        and not any_gradient(rows, weight, bias, a, b)
    )


def few(
    rows: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    a: Tensor,
    b: Tensor,
    scale: float,
    activation: str,
) -> Tensor:
    """Compute ``y (M, d_out)`` of ``rows (M, d_in)``."""
    # eager code bypasses the dispatcher, which takes a large share of the time of a narrow layer
    run = torch.ops.fastbrain.lora_linear_cpu_decode if torch.compiler.is_compiling() else _few
    return run(rows, weight, bias, a, b, scale, activation)


def _few(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    a: Tensor,
    b: Tensor,
    scale: float,
    activation: str,
) -> Tensor:
    out = _fake(x, weight, bias, a, b, scale, activation)
    x, weight, a, b = x.contiguous(), weight.contiguous(), a.contiguous(), b.contiguous()
    bias = None if bias is None else bias.contiguous()
    _native.lora_few(
        x=x.data_ptr(),
        weight=weight.data_ptr(),
        bias=0 if bias is None else bias.data_ptr(),
        a=a.data_ptr(),
        b=b.data_ptr(),
        out=out.data_ptr(),
        sizes=(*x.shape, *b.shape),
        activation=_ACTIVATIONS[activation],
        scale=scale,
        threads=torch.get_num_threads(),
    )
    return out


def _fake(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    a: Tensor,
    b: Tensor,
    scale: float,
    activation: str,
) -> Tensor:
    return x.new_empty(x.shape[0], weight.shape[0])


_library.impl("lora_linear_cpu_decode", _few, "CPU")
torch.library.register_fake("fastbrain::lora_linear_cpu_decode", _fake, lib=_library)
