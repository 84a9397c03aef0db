"""How the blocks of a model run while it trains: recomputed, compiled, or neither."""

from __future__ import annotations

from torch import nn

from ..models.llm4brain import LLM4Brain
from ..models.qformer import QFormer
from ..models.scmbm import SCMBM
from .config import StageConfig


def arrange(objective: nn.Module, config: StageConfig) -> None:
    """Make the parts of an objective run as its stage says; values and gradients stay the same.

    Parameters
    ----------
    objective : Module
    config : StageConfig
        Its `recompute` and `compile`.
    """
    for part in objective.modules():
        if isinstance(part, SCMBM | QFormer | LLM4Brain):
            part.recompute = config.recompute
        if isinstance(part, SCMBM | QFormer):
            # None takes back what an earlier stage compiled
            part._compiled_call_impl = None
            if config.compile is not None:
                part.compile(backend=config.compile)
