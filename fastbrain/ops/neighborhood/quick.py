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
        and _checks.plain(features, prototypes, memory, indices)
    ):
        return None
    single = torch.float32
    if not (
        features.dtype is single
        and prototypes.dtype is single
        and memory.dtype is single
        and indices.dtype is torch.int64
        and features.dim() == prototypes.dim() == memory.dim() == 2
    ):
        return None
    if torch.is_grad_enabled() and (features.requires_grad or prototypes.requires_grad):
        return None
    (batch, width), (classes, depth), (size, across) = (
        features.shape,
        prototypes.shape,
        memory.shape,
    )
    if (
        not depth == across == width
        # from there on the way is chosen
        or not 0 < width < cpu.LEAST_WIDTH
        or batch * classes * size == 0
        or indices.shape != (batch,)
        or not (features.is_contiguous() and prototypes.is_contiguous())
        or not (memory.is_contiguous() and indices.is_contiguous())
    ):
        return None
    out = features.new_empty(())
    done = _native.neighborhood_small(
        features.data_ptr(), memory.data_ptr(), indices.data_ptr(), prototypes.data_ptr(),
        batch, width, size, classes, temperature, DANCE_EPS if variant == "dance" else 0.0,
        NORM_TOLERANCE, out.data_ptr(), torch.get_num_threads(),
    )  # fmt: skip
    return out if done else None
