"""CPU backend of the adapted layers: PyTorch matmuls with a custom backward pass.

It saves memory traffic: the low-rank branch is added in place, forward and backward, and only x and
the weights are kept for the backward pass. The few rows of a decoding step are computed by a C++
kernel (:mod:`.cpu_decode`).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from .._dispatch import any_gradient
from . import attention, products
from . import cpu_decode as few
from .autograd import Pair, adapted, register
from .checks import Layer, LoraWeights

# with fewer rows the backward pass in Python costs more time than it saves memory traffic
OWN_GRADIENT_ROWS = 256


def can_run(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    a: Tensor,
    b: Tensor,
    scale: float,
    activation: str | None,
) -> str | None:
    """Return None, or the reason why the backend cannot run the checked problem."""
    return None if x.device.type == "cpu" else f"the tensors are on {x.device}"


def call(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    a: Tensor,
    b: Tensor,
    scale: float,
    activation: str | None,
) -> Tensor:
    """Adapted linear layer on the CPU, with gradients for every tensor."""
    rows = x if x.dim() == 2 else x.reshape(-1, x.shape[-1])
    if few.takes(rows, weight, bias, a, b):
        y = few.few(rows, weight, bias, a, b, scale, activation or "")
    elif torch.compiler.is_compiling():
        return adapted("linear_cpu", x, weight, bias, (a,), (b,), (0,), scale, activation)
    elif rows.shape[0] < OWN_GRADIENT_ROWS or not any_gradient(x, weight, bias, a, b):
        y = products.composed(rows, weight, bias, a, b, scale, activation or "")
    else:
        y = adapted("linear_cpu", rows, weight, bias, (a,), (b,), (0,), scale, activation)
    return y if x.dim() == 2 else y.reshape(*x.shape[:-1], weight.shape[0])


def can_attend(
    x: Tensor,
    qkv: Layer,
    out: Layer,
    adapters: Mapping[str, LoraWeights],
    num_heads: int,
    mask: Tensor | None,
) -> str | None:
    """Return None, or the reason why the backend cannot run the checked attention."""
    if x.device.type != "cpu":
        return f"the tensors are on {x.device}"
    return attention.mixed(adapters)


def attend(
    x: Tensor,
    qkv: Layer,
    out: Layer,
    adapters: Mapping[str, LoraWeights],
    num_heads: int,
    mask: Tensor | None,
) -> Tensor:
    """Adapted attention on the CPU, with gradients for every tensor."""
    return attention.attention("linear_cpu", x, qkv, out, adapters, num_heads, mask)


register("linear_cpu", Pair(products.forward, products.gradients), ["CPU"])
