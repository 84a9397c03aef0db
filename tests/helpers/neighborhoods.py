"""Inputs of neighbourhood clustering, its value and gradients, and how far they are from exact."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F

from fastbrain.ops import neighborhood_clustering
from fastbrain.ops.neighborhood import autograd

VARIANTS = ("paper", "dance")
# of the error of eager PyTorch in bfloat16
LIMIT = 1.25
_DRAWS = 6


def inputs(
    batch: int,
    classes: int,
    size: int,
    width: int,
    dtype: torch.dtype = torch.float32,
    *,
    seed: int = 0,
) -> tuple[torch.Tensor, ...]:
    """Unit rows of features, prototypes and memory, and the rows of the samples in the memory."""
    generator = torch.Generator().manual_seed(seed)

    def unit(rows: int) -> torch.Tensor:
        drawn = torch.randn(rows, width, generator=generator, dtype=torch.float64)
        return F.normalize(drawn, dim=1).to(dtype)

    batch = min(batch, size)
    indices = torch.randperm(size, generator=generator)[:batch]
    return unit(batch).requires_grad_(), unit(classes).requires_grad_(), unit(size), indices


def outcome(*arguments: torch.Tensor, backend: str = "cpu", **options: Any) -> list[torch.Tensor]:
    """The value, and the gradients of features and prototypes."""
    options = {"temperature": 0.05, **options}
    value = neighborhood_clustering(*arguments, backend=backend, **options)
    return [value.detach(), *torch.autograd.grad(value, arguments[:2])]


def truth(
    features: torch.Tensor,
    prototypes: torch.Tensor,
    memory: torch.Tensor,
    indices: torch.Tensor,
    **options: Any,
) -> list[torch.Tensor]:
    """The outcome of the reference in float64 for the same numbers."""
    wide = [t.detach().double().requires_grad_() for t in (features, prototypes)]
    return outcome(*wide, memory.double(), indices, backend="reference", **options)


def errors(got: Sequence[torch.Tensor], expected: Sequence[torch.Tensor]) -> list[float]:
    """Relative distances from tensors in float64; infinite for what is not a number.

    A comparison with NaN would be lost in the maximum of a list.
    """
    found = [float((g.double() - t).norm() / t.norm()) for g, t in zip(got, expected, strict=True)]
    return [math.inf if math.isnan(error) else error for error in found]


def eager(
    features: torch.Tensor,
    prototypes: torch.Tensor,
    memory: torch.Tensor,
    indices: torch.Tensor,
    variant: str,
    temperature: float = 0.05,
) -> list[torch.Tensor]:
    """The loss as PyTorch makes it of such tensors: products and logits in their dtype."""
    dance = variant == "dance"
    blocks = [features @ memory.T, features @ prototypes.T]
    scores = torch.cat([*blocks, features @ features.T] if dance else blocks, dim=1) / temperature
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    hidden = torch.zeros_like(scores, dtype=torch.bool)
    batch = len(features)
    hidden[:, : len(memory)] = (memory == 0).all(dim=1)
    if dance:
        hidden[:, indices] = True
        hidden[:, -batch:] |= torch.eye(batch, dtype=torch.bool)
        p = scores.masked_fill(hidden, float("-inf")).softmax(dim=1)
        value = -(p * torch.log(p + autograd.DANCE_EPS)).sum() / batch
    else:
        hidden[torch.arange(batch), indices] = True
        log_p = scores.masked_fill(hidden, float("-inf")).log_softmax(dim=1)
        value = -(log_p.exp() * log_p.clamp_min(-1e30)).sum() / batch
    return [value.detach(), *torch.autograd.grad(value, (features, prototypes))]


def excess(
    shape: Sequence[int],
    variant: str,
    edit: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], None] | None = None,
) -> torch.Tensor:
    """Return our root mean square errors over those of eager PyTorch in bfloat16.

    A single draw may be right by chance, above all the loss, which is one number.
    """
    total = torch.zeros(2, 3)
    for seed in range(_DRAWS):
        arguments = inputs(*shape, torch.bfloat16, seed=seed)
        if edit is not None:
            edit(arguments[0].detach(), *arguments[2:])
        wide = [t.detach().double().requires_grad_() for t in arguments[:2]]
        truth = eager(*wide, arguments[2].double(), arguments[3], variant)
        plain = eager(*arguments, variant)
        for row, got in enumerate((outcome(*arguments, variant=variant), plain)):
            total[row] += torch.tensor(errors(got, truth)).square()
    return (total[0] / total[1]).sqrt().max()
