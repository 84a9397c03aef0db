"""Code shared by the streaming backends of neighbourhood clustering.

Their operators take features, memory and the rows of the few other columns: prototypes and, in
``dance``, the batch itself. They return the mean entropy and, if requested, its derivatives, which
the backward pass only scales: forward and backward are computed in one operator call.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .checks import ClusteringProblem

DANCE_EPS = 1e-5  # inside the logarithm, as DANCE computes it
# sums of a billion exponentials of logits up to this do not overflow
_MOST_INVERSE = {torch.float32: 60.0, torch.float64: 600.0}

# `own`: with eps > 0, sample i is masked from the other column own + i
SCHEMA = (
    "(Tensor features, Tensor others, Tensor memory, Tensor indices, float temperature, "
    "float eps, SymInt own, bool grad) -> (Tensor, Tensor, Tensor)"
)

Operator = Callable[..., tuple[Tensor, Tensor, Tensor]]


def precision_of(features: Tensor) -> torch.dtype:
    """Return float64 for float64 features and float32 for all others, for any memory dtype."""
    return torch.float64 if features.dtype is torch.float64 else torch.float32


def objection(features: Tensor, temperature: float) -> str | None:
    """Return None, or the reason why no streaming backend can run the checked problem."""
    precision = precision_of(features)
    most = _MOST_INVERSE[precision]
    if temperature * most < 1:
        return (
            f"the temperature is {temperature}; below 1/{most:.0f} exponentials of "
            f"cosines over it leave {str(precision).removeprefix('torch.')}"
        )
    return None


def clustering(operator: Operator, problem: ClusteringProblem) -> Tensor:
    """Compute the mean entropy with a streaming operator of :data:`SCHEMA`, with gradients."""
    features, prototypes, memory, indices, temperature, variant = problem
    precision = precision_of(features)
    f, others = features.to(precision), prototypes.to(precision)
    eps, own = 0.0, 0
    if variant == "dance":
        eps, own = DANCE_EPS, prototypes.shape[0]
        others = torch.cat([others, f])
    memory = memory.detach() if memory.requires_grad else memory
    fixed = (memory, indices, temperature, eps, own)
    if torch.is_grad_enabled() and (f.requires_grad or others.requires_grad):
        return _Entropy.apply(operator, f, others, *fixed)
    return operator(f, others, *fixed, False)[0]


class _Entropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, operator: Operator, *arguments: Any) -> Tensor:
        entropy, grad_features, grad_others = operator(*arguments, True)
        ctx.save_for_backward(grad_features, grad_others)
        return entropy

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        grad_features, grad_others = ctx.saved_tensors
        return None, grad * grad_features, grad * grad_others, None, None, None, None, None


def fake(features: Tensor, others: Tensor, *arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Return empty tensors shaped like the results of an operator of :data:`SCHEMA`.

    Derivatives that are not requested have no elements.
    """
    empty = features.new_empty
    if not arguments[-1]:
        return empty(()), empty(0, 0), empty(0, 0)
    return empty(()), empty(features.shape), empty(others.shape)
