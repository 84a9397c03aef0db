"""CPU backend of the adapted layers: PyTorch matmuls, with the low-rank branch added in place.

The few rows of a decoding step are computed by a C++ kernel (:mod:`.cpu_decode`). Attention and
compiled code have a backward pass of their own, which keeps only x and the weights; in eager code a
single layer is as fast with that of PyTorch.
"""

from __future__ import annotations

import torch
from torch import Tensor

from . import attention, cpu_decode, products
from .autograd import Pair, adapted, register
from .checks import AttentionProblem, LinearProblem
from .products import AdaptedLayer


def can_run(problem: LinearProblem) -> str | None:
    """Return None, or the reason why the backend cannot run the checked problem."""
    device = problem.x.device
    return None if device.type == "cpu" else f"the tensors are on {device}"


def call(problem: LinearProblem) -> Tensor:
    """Adapted linear layer on the CPU, with gradients for every tensor."""
    x, weight, bias, a, b, scale, activation = problem
    flat = problem
    if x.dim() != 2:
        rows = x.reshape(-1, x.shape[-1])
        flat = LinearProblem(rows, weight, bias, a, b, scale, activation)
    if cpu_decode.takes(flat):
        y = cpu_decode.layer(flat)
    elif not torch.compiler.is_compiling():
        y = products.composed(flat)
    else:
        y = adapted("linear_cpu", AdaptedLayer.of(flat))
    return y if x.dim() == 2 else y.reshape(*x.shape[:-1], weight.shape[0])


def can_attend(problem: AttentionProblem) -> str | None:
    """Return None, or the reason why the backend cannot run the checked attention."""
    if problem.x.device.type != "cpu":
        return f"the tensors are on {problem.x.device}"
    return attention.mixed(problem.adapters)


def attend(problem: AttentionProblem) -> Tensor:
    """Adapted attention on the CPU, with gradients for every tensor."""
    return attention.attention("linear_cpu", problem)


register("linear_cpu", Pair(products.forward, products.gradients), ["CPU"])
