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
MOST_INVERSE = {torch.float32: 60.0, torch.float64: 600.0}

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
    most = MOST_INVERSE[precision]
    if temperature * most < 1:
        return (
            f"the temperature is {temperature}; below 1/{most:.0f} exponentials of "
            f"cosines over it leave {str(precision).removeprefix('torch.')}"
        )
    return None


def clustering(operator: Operator, problem: ClusteringProblem, *, rounds: bool = False) -> Tensor:
    """Compute the mean entropy with a streaming operator of :data:`SCHEMA`, with gradients.

    With `rounds`, the operator gets features and prototypes in their own dtype.
    """
    f, prototypes, memory, indices, temperature, variant = problem
    if not rounds:
        precision = precision_of(f)
        f, prototypes = f.to(precision), prototypes.to(precision)
    memory = memory.detach() if memory.requires_grad else memory
    eps = DANCE_EPS if variant == "dance" else 0.0
    fixed = (memory, indices, temperature, eps)
    if torch.is_grad_enabled() and (f.requires_grad or prototypes.requires_grad):
        return _Entropy.apply(operator, f, prototypes, *fixed)
    others, own = _others(f, prototypes, eps)
    return operator(f, others, *fixed, own, False)[0]


class _Entropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, operator: Operator, f: Tensor, prototypes: Tensor, *fixed: Any) -> Tensor:
        others, own = _others(f, prototypes, fixed[-1])
        entropy, grad_features, grad_others = operator(f, others, *fixed, own, True)
        if own:
            # the samples are columns too
            grad_features = grad_features + grad_others[own:]
            grad_others = grad_others[:own]
        ctx.save_for_backward(grad_features.to(f.dtype), grad_others.to(prototypes.dtype))
        return entropy

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        grad_features, grad_others = ctx.saved_tensors
        return None, grad * grad_features, grad * grad_others, None, None, None, None


def _others(f: Tensor, prototypes: Tensor, eps: float) -> tuple[Tensor, int]:
    """Return the rows of the columns beside the memory, and the number of the first sample's."""
    if eps == 0:
        return prototypes, 0
    # they have their dtype already, and of another one than that of autocast `cat` raises
    with torch.autocast(f.device.type, enabled=False):
        return torch.cat([prototypes, f]), prototypes.shape[0]


def fake(features: Tensor, others: Tensor, *arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Return empty tensors shaped like the results of an operator of :data:`SCHEMA`.

    Derivatives that are not requested have no elements.
    """
    empty = features.new_empty
    precision = precision_of(features)
    value = empty((), dtype=precision)
    if not arguments[-1]:
        return value, empty(0, 0), empty(0, 0)
    wide = [empty(shape, dtype=precision) for shape in (features.shape, others.shape)]
    return value, wide[0], wide[1]
