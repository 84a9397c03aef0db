"""Adapted layers from PyTorch's products, on any device and in any precision.

The low-rank branch is added into the result of the frozen product and into its gradient, so no
second array of their size exists. Several adapters may sit side by side on the rows of one weight,
as q, k and v do: adapter i writes the rows from ``rows[i]`` on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

Gradients = tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None, list[Tensor] | None]


def composed(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    a: Tensor,
    b: Tensor,
    scale: float,
    activation: str,
) -> Tensor:
    """``y (M, d_out)`` of one adapter, in operations whose gradient the library knows."""
    y = F.linear(x, weight, bias)
    return y.addmm_(act(F.linear(x, a), activation), b.T, alpha=scale)


def forward(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    a: Sequence[Tensor],
    b: Sequence[Tensor],
    rows: Sequence[int],
    scale: float,
    activation: str,
) -> tuple[Tensor, Tensor]:
    """``y (M, d_out)`` of ``x (M, d_in)``, and what comes out of all A, ``(M, Σr)``."""
    low = F.linear(x, side_by_side(a))
    y = F.linear(x, weight, bias)
    for part, columns, w in _parts(y, act(low, activation), b, rows):
        part.addmm_(columns, w.T, alpha=scale)
    return y, low


def gradients(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    a: Sequence[Tensor],
    b: Sequence[Tensor],
    low: Tensor,
    rows: Sequence[int],
    scale: float,
    activation: str,
    wanted: Sequence[bool],
) -> Gradients:
    """Gradients of x, weight, bias, all A (side by side) and each B; None where not wanted."""
    for_x, for_weight, for_bias, for_a, for_b = wanted
    grad_x = grad_a = grad_b = None
    parts = list(_parts(grad, low, b, rows))
    # the large product comes last: the small ones find the upstream gradient in the cache
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
    """All A as one, ``(Σr, d_in)``."""
    return a[0] if len(a) == 1 else torch.cat(list(a))


def act(low: Tensor, activation: str) -> Tensor:
    """Apply the activation named, ``""`` for none."""
    if activation == "gelu":
        return F.gelu(low)
    if activation == "silu":
        return F.silu(low)
    return F.relu(low) if activation == "relu" else low


def act_gradient(grad: Tensor, low: Tensor, activation: str) -> Tensor:
    """Gradient before the activation from the one after it."""
    if activation == "gelu":
        return torch.ops.aten.gelu_backward(grad, low)
    if activation == "silu":
        return torch.ops.aten.silu_backward(grad, low)
    return torch.ops.aten.threshold_backward(grad, low, 0) if activation == "relu" else grad


def _parts(
    wide: Tensor, low: Tensor, b: Sequence[Tensor], rows: Sequence[int]
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """For each adapter its columns of `wide`, its columns of `low`, and B."""
    if len(b) == 1 and b[0].shape[0] == wide.shape[1]:
        yield wide, low, b[0]
        return
    at = 0
    for w, first in zip(b, rows, strict=True):
        d_out, rank = w.shape
        yield wide[:, first : first + d_out], low[:, at : at + rank], w
        at += rank
