"""Execution mode of model blocks in training: activation recomputation and compilation."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import nn

from .config import StageConfig


@runtime_checkable
class Recomputable(Protocol):
    """Module that recomputes its blocks in the backward pass if `recompute` is set."""

    recompute: bool


@runtime_checkable
class Compilable(Protocol):
    """Module that is compiled separately if `compiles` is set and the stage has a backend."""

    compiles: bool


def arrange(objective: nn.Module, config: StageConfig) -> None:
    """Set recomputation and compilation of an objective's modules; values stay the same.

    Parameters
    ----------
    objective : Module
        Its :class:`Recomputable` and :class:`Compilable` modules are set.
    config : StageConfig
        Provides `recompute` and `compile`.
    """
    for part in objective.modules():
        if isinstance(part, Recomputable):
            part.recompute = config.recompute
        if isinstance(part, Compilable) and part.compiles:
            # None removes the compiled call of an earlier stage
            part._compiled_call_impl = None
            if config.compile is not None:
                part.compile(backend=config.compile)
