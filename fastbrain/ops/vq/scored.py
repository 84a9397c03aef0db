"""Arguments of the lookup kernels on a GPU: codes and their score weights."""

from __future__ import annotations

import torch
from torch import Tensor

from .codebook import LookupProblem, weights_of


def scored(problem: LookupProblem) -> tuple[Tensor, Tensor | None, Tensor, Tensor, bool]:
    """Return the arguments of the GPU operators: x, mask, codes, weights, cosine."""
    x, codebook, metric, mask, packed = problem
    weights = None if packed is None else packed.weights
    if weights is None:
        weights = weights_of(codebook.detach(), metric)
    # under autocast the two dtypes may differ
    dtype = torch.promote_types(x.dtype, codebook.dtype)
    return x.detach().to(dtype), mask, codebook.detach().to(dtype), weights, metric == "cosine"
