"""C++ kernel of an adapted layer for the few rows of a decoding step on the CPU.

It reads the weight once, which dominates the cost of such a step, and adds the low-rank branch to
the same sums. It supports inference in float32 only.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ... import _native
from .._dispatch import any_gradient
from .._tensors import ACTIVATIONS, address, contiguous
from .checks import LinearProblem

# Two cores of an EPYC 9004, 768 to 4096 wide, time of the PyTorch matmuls over its own: 1.7 to
# 2.5 for 1 row, 3.0 to 3.3 for 2 and 4, 1.3 to 2.1 for 16, 1.2 to 1.8 for 24
MOST_ROWS = 24
_library = torch.library.Library("fastbrain", "FRAGMENT")
_library.define(
    "lora_linear_cpu_decode(Tensor x, Tensor weight, Tensor? bias, Tensor a, Tensor b, "
    "float scale, str activation) -> Tensor"
)


def takes(problem: LinearProblem) -> bool:
    """Return whether the kernel supports ``x (M, d_in)`` and these weights."""
    x, weight, bias, a, b, _, _ = problem
    return (
        x.shape[0] <= MOST_ROWS
        and x.dtype == torch.float32
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


def _layer(x: Tensor, weight: Tensor, *rest: Any) -> Tensor:
    out = _fake(x, weight)
    *tensors, scale, activation = x, weight, *rest
    x, weight, bias, a, b = contiguous(*tensors)
    _native.lora_few(
        x=address(x),
        weight=address(weight),
        bias=address(bias),
        a=address(a),
        b=address(b),
        out=address(out),
        sizes=(*x.shape, *b.shape),
        activation=ACTIVATIONS[activation or ""],
        scale=scale,
        threads=torch.get_num_threads(),
    )
    return out


def _fake(x: Tensor, weight: Tensor, *_: Any) -> Tensor:
    return x.new_empty(x.shape[0], weight.shape[0])


_library.impl("lora_linear_cpu_decode", _layer, "CPU")
torch.library.register_fake("fastbrain::lora_linear_cpu_decode", _fake, lib=_library)
