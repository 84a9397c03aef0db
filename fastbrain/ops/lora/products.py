"""Adapted layers as PyTorch matmuls, on any device and in any precision.

The low-rank branch is added in place to the result of the frozen product and to its gradient, so no
second array of that size exists. Several adapters can share one weight, as q, k and v do: adapter i
adds to the output columns from ``rows[i]`` on, which are rows of the weight.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .checks import LinearProblem

Linear = tuple[Tensor, Tensor, Tensor | None, Tensor, Tensor, float, str | None]
Gradients = tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None, list[Tensor] | None]


class AdaptedLayer(NamedTuple):
    """A linear layer with several adapters, of which adapter i adds to columns from ``rows[i]``.

    x is ``(M, d_in)``; the activation ``""`` is none.
    """

    x: Tensor
    weight: Tensor
    bias: Tensor | None
    a: Sequence[Tensor]
    b: Sequence[Tensor]
    rows: Sequence[int]
    scale: float
    activation: str

    @classmethod
    def of(cls, problem: LinearProblem) -> AdaptedLayer:
        """Make the layer of one adapter."""
        x, weight, bias, a, b, scale, activation = problem
        return cls(x, weight, bias, (a,), (b,), (0,), scale, activation or "")


def composed(problem: Linear) -> Tensor:
    """Compute ``y (M, d_out)`` with one adapter, by operations that autograd can differentiate.

    `problem` is a :class:`.LinearProblem` or a tuple of its fields.
    """
    x, weight, bias, a, b, scale, activation = problem
    y = F.linear(x, weight, bias)
    return y.addmm_(act(F.linear(x, a), activation or ""), b.T, alpha=scale)


def forward(layer: AdaptedLayer) -> tuple[Tensor, Tensor]:
    """Compute ``y (M, d_out)`` of ``x (M, d_in)``, and the product of x with all A, ``(M, Σr)``."""
    low = F.linear(layer.x, side_by_side(layer.a))
    y = F.linear(layer.x, layer.weight, layer.bias)
    for part, columns, w in _parts(y, act(low, layer.activation), layer.b, layer.rows):
        part.addmm_(columns, w.T, alpha=layer.scale)
    return y, low


def gradients(grad: Tensor, layer: AdaptedLayer, low: Tensor, wanted: Sequence[bool]) -> Gradients:
    """Compute the gradients of x, weight, bias, all A (concatenated) and each B.

    A gradient that `wanted` does not request is None.
    """
    x, weight, _, a, b, rows, scale, activation = layer
    for_x, for_weight, for_bias, for_a, for_b = wanted
    grad_x = grad_a = grad_b = None
    parts = list(_parts(grad, low, b, rows))
    # the large product comes last, so that the small ones read the upstream gradient from cache
    if for_b:
        grad_b = [part.T.mm(act(s, activation)).mul_(scale) for part, s, _ in parts]
    if for_x or for_a:
        through = [part.mm(w) for part, _, w in parts]
        whole = through[0] if len(through) == 1 else torch.cat(through, dim=1)
        whole = act_gradient(whole.mul_(scale), low, activation)
        if for_a:
            grad_a = whole.T.mm(x)
        if for_x:
            grad_x = grad.mm(weight).addmm_(whole, side_by_side(a))
    grad_weight = grad.T.mm(x) if for_weight else None
    grad_bias = grad.sum(0) if for_bias else None
    return grad_x, grad_weight, grad_bias, grad_a, grad_b


def side_by_side(a: Sequence[Tensor]) -> Tensor:
    """Concatenate all A to ``(Σr, d_in)``."""
    return a[0] if len(a) == 1 else torch.cat(list(a))


def act(low: Tensor, activation: str) -> Tensor:
    """Apply the named activation, ``""`` for none."""
    if activation == "gelu":
        return F.gelu(low)
    if activation == "silu":
        return F.silu(low)
    return F.relu(low) if activation == "relu" else low


def act_gradient(grad: Tensor, low: Tensor, activation: str) -> Tensor:
    """Propagate a gradient back through the activation."""
    if activation == "gelu":
        return torch.ops.aten.gelu_backward(grad, low)
    if activation == "silu":
        return torch.ops.aten.silu_backward(grad, low)
    return torch.ops.aten.threshold_backward(grad, low, 0) if activation == "relu" else grad


def _parts(
    wide: Tensor, low: Tensor, b: Sequence[Tensor], rows: Sequence[int]
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield the columns of `wide`, the columns of `low` and B of each adapter."""
    if len(b) == 1 and b[0].shape[0] == wide.shape[1]:
        yield wide, low, b[0]
        return
    at = 0
    for w, first in zip(b, rows, strict=True):
        d_out, rank = w.shape
        yield wide[:, first : first + d_out], low[:, at : at + rank], w
        at += rank
