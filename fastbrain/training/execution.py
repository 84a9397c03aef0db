"""How the blocks of a model run while it trains: recomputed, compiled, or neither."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import nn

from .config import StageConfig


@runtime_checkable
class Recomputable(Protocol):
    """A module that can compute its blocks again in the backward pass, where `recompute` is set."""

    recompute: bool


@runtime_checkable
class Compilable(Protocol):
    """A module that is compiled by itself, where its stage asks for that."""

    compiles: bool


def arrange(objective: nn.Module, config: StageConfig) -> None:
    """Make the parts of an objective run as its stage says; values and gradients stay the same.

    Parameters
    ----------
    objective : Module
        Its modules that are :class:`Recomputable` or :class:`Compilable` are set.
    config : StageConfig
        Its `recompute` and `compile`.
    """
    for part in objective.modules():
        if isinstance(part, Recomputable):
            part.recompute = config.recompute
        if isinstance(part, Compilable) and part.compiles:
            # None takes back what an earlier stage compiled
            part._compiled_call_impl = None
            if config.compile is not None:
                part.compile(backend=config.compile)
