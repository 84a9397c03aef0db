"""Load weights into a module without a missing, unknown or misshapen tensor."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from .._arguments import checked
from ..errors import CheckpointError


@checked
def load_strict(module: torch.nn.Module, state: Mapping[str, torch.Tensor], *, where: str) -> None:
    """Load weights only if names and shapes are exactly the module's own.

    Raises
    ------
    CheckpointError
        Lists every missing, extra and reshaped tensor by name.
    """
    own = module.state_dict()
    faults = {
        "missing": sorted(own.keys() - state.keys()),
        "extra": sorted(state.keys() - own.keys()),
        "reshaped": [
            f"{k} {tuple(state[k].shape)} for {tuple(own[k].shape)}"
            for k in sorted(own.keys() & state.keys())
            if own[k].shape != state[k].shape
        ],
    }
    told = "; ".join(f"{kind}: {', '.join(names)}" for kind, names in faults.items() if names)
    if told:
        raise CheckpointError(f"load: the weights of {where} must fit the model, got {told}.")
    module.load_state_dict(state)
