"""Short way of neighbourhood clustering on the CPU, for arguments that are plainly right.

For a few samples, the full checks and the choice of a backend take longer than the loss.
"""

from __future__ import annotations

from math import inf
from typing import Any

import torch
from torch import Tensor

from ... import _native
from .. import _checks
from . import cpu
from .autograd import DANCE_EPS, MOST_INVERSE
from .checks import NORM_TOLERANCE, VARIANTS

_LEAST = 1 / MOST_INVERSE[torch.float32]


def loss(
    features: Any, prototypes: Any, memory: Any, indices: Any, temperature: Any, variant: Any
) -> Tensor | None:
    """Return the float32 loss of the C++ kernel, or None where only the full checks can tell."""
    if not (
        type(temperature) is float
        and _LEAST <= temperature < inf
        and type(variant) is str
        and variant in VARIANTS
        and _checks.plain(features)
    ):
        return None
    out = features.new_empty((), dtype=torch.float32)
    done = _native.neighborhood_small(
        features, prototypes, memory, indices, temperature,
        DANCE_EPS if variant == "dance" else 0.0, NORM_TOLERANCE,
        # from LEAST_WIDTH on the way is chosen
        cpu.LEAST_WIDTH - 1, torch.is_grad_enabled(), out, torch.get_num_threads(),
    )  # fmt: skip
    return out if done else None
