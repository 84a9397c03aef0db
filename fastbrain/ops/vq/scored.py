"""Codes and the weights that a GPU kernel scores them with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .codebook import weights_of

if TYPE_CHECKING:
    from .codebook import PackedCodebook


def scored(
    x: Tensor, codebook: Tensor, metric: str, mask: Tensor | None, packed: PackedCodebook | None
) -> tuple[Tensor, Tensor | None, Tensor, Tensor, bool]:
    """Arguments of the operators on a GPU: x, mask, codes, weights, cosine."""
    weights = None if packed is None else packed.weights
    if weights is None:
        weights = weights_of(codebook.detach(), metric)
    # under autocast the two may differ
    dtype = torch.promote_types(x.dtype, codebook.dtype)
    return x.detach().to(dtype), mask, codebook.detach().to(dtype), weights, metric == "cosine"
