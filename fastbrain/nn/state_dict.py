"""Load weights into a module; missing, extra or reshaped tensors raise an error."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from .._arguments import checked
from ..errors import CheckpointError


@checked
def load_strict(module: torch.nn.Module, state: Mapping[str, torch.Tensor], *, where: str) -> None:
    """Load weights if their names and shapes match those of the module exactly.

    Raises
    ------
    CheckpointError
        A tensor is missing, extra or has another shape. The message lists all of them.
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
    mismatches = "; ".join(f"{kind}: {', '.join(names)}" for kind, names in faults.items() if names)
    if mismatches:
        raise CheckpointError(f"load: the weights of {where} must fit the model, got {mismatches}.")
    module.load_state_dict(state)
