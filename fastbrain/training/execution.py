"""How the blocks of a model run while it trains: recomputed, compiled, or neither."""

from __future__ import annotations

from torch import nn

from .config import StageConfig


def arrange(objective: nn.Module, config: StageConfig) -> None:
    """Make the parts of an objective run as its stage says; values and gradients stay the same.

    Parameters
    ----------
    objective : Module
        Parts that can recompute their blocks have an attribute `recompute`; those that are also
        compiled, one by one, have `compiles`, both bool.
    config : StageConfig
        Its `recompute` and `compile`.
    """
    for part in objective.modules():
        if hasattr(part, "recompute"):
            part.recompute = config.recompute
        if getattr(part, "compiles", False):
            # None takes back what an earlier stage compiled
            part._compiled_call_impl = None
            if config.compile is not None:
                part.compile(backend=config.compile)
