"""Test cases of the ops, and the random numbers they are built from.

Numbers are drawn in float64 and rounded to the working dtype; the float64 reference receives the
same rounded numbers. A comparison therefore measures the arithmetic, not the rounding of inputs.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .. import _dispatch

HALF = (torch.float32, torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class Call:
    """Arguments of one call; `leaves` get gradients, `changed` are written by an in-place op."""

    args: tuple[Any, ...]
    options: dict[str, Any] = field(default_factory=dict)
    leaves: tuple[Tensor, ...] = ()
    changed: tuple[Tensor, ...] = ()


@dataclass(frozen=True)
class Numbers:
    """Source of the tensors of a case: drawn in float64, rounded to `dtype`, stored as `held`."""

    generator: torch.Generator
    dtype: torch.dtype
    held: torch.dtype
    device: torch.device

    def of(self, dtype: torch.dtype) -> Numbers:
        """Return the same source for tensors that have this dtype in any working precision."""
        truth = self.held == torch.float64
        return replace(self, dtype=dtype, held=self.held if truth else dtype)

    def normal(self, *shape: int, scale: float = 1.0, leaf: bool = False) -> Tensor:
        """Draw standard normal numbers times `scale`."""
        drawn = torch.randn(*shape, generator=self.generator, dtype=torch.float64) * scale
        return self.round(drawn).requires_grad_(leaf)

    def unit(self, *shape: int, leaf: bool = False) -> Tensor:
        """Draw rows of norm one."""
        drawn = torch.randn(*shape, generator=self.generator, dtype=torch.float64)
        return self.round(F.normalize(drawn, dim=-1)).requires_grad_(leaf)

    def round(self, values: Tensor) -> Tensor:
        """Round to the working precision."""
        return values.to(self.dtype).to(device=self.device, dtype=self.held)

    def whole(self, low: int, high: int, *shape: int) -> Tensor:
        """Draw integers in [low, high)."""
        return torch.randint(low, high, shape, generator=self.generator).to(self.device)

    def rows(self, size: int, count: int) -> Tensor:
        """Draw distinct row numbers below `size`."""
        return torch.randperm(size, generator=self.generator)[:count].to(self.device)


@dataclass(frozen=True)
class Case:
    """One set of inputs of one op.

    Parameters
    ----------
    op, name : str
    function : callable
        The public op.
    build : callable
        Maps :class:`Numbers` to a :class:`Call`.
    dtypes : tuple of dtype
        Working precisions that the op supports.
    same : callable, optional
        Returns whether integer results are as correct as the reference ones; default: equality.
    condition : float
        Factor by which the op amplifies the rounding of intermediate results.
    """

    op: str
    name: str
    function: Callable[..., Any]
    build: Callable[[Numbers], Call]
    dtypes: tuple[torch.dtype, ...] = (torch.float32,)
    same: Callable[[Call, Tensor, Tensor], bool] | None = None
    condition: float = 1.0

    def inputs(
        self,
        *,
        seed: int = 0,
        dtype: torch.dtype = torch.float32,
        device: str | torch.device = "cpu",
        truth: bool = False,
    ) -> Call:
        """Build the arguments in `dtype`, or with `truth` the same numbers in float64."""
        held = torch.float64 if truth else dtype
        generator = torch.Generator().manual_seed(seed)
        return self.build(Numbers(generator, dtype, held, torch.device(device)))

    def outcome(self, call: Call, *, backend: str | None = None, seed: int = 0) -> list[Tensor]:
        """Run the op and return its results, then its gradients for a fixed random upstream."""
        with nullcontext() if backend is None else _dispatch.backend(backend):
            result = self.function(*call.args, **call.options)
        if call.changed:
            return [t.detach().clone() for t in call.changed]
        if not call.leaves:
            return [result]
        upstream = torch.randn(
            result.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
        ).to(result)
        return [result.detach(), *torch.autograd.grad(result, call.leaves, upstream)]

    @property
    def id(self) -> str:
        """Readable name, ``op-case``."""
        return f"{self.op}-{self.name}"


def cases(
    *table: tuple[
        Callable[..., Any], tuple[torch.dtype, ...], dict[str, Callable[[Numbers], Call]]
    ],
) -> list[Case]:
    """Make cases from rows of (public op, working precisions, builders by name)."""
    return [
        Case(function.__name__, name, function, build, dtypes)
        for function, dtypes, builds in table
        for name, build in builds.items()
    ]
