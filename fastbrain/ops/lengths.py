"""Rows of length one, with a gradient that is finite whatever the rows are."""

from __future__ import annotations

import torch
from torch import Tensor

# below, a row has no direction
_SHORTEST = 1e-12


def unit(x: Tensor, *, dim: int = -1) -> Tensor:
    """Divide by the length along an axis; what is shorter than 1e-12 becomes zero.

    Equal to ``torch.nn.functional.normalize`` for all other rows. That divides a zero row by 1e-12,
    in the backward pass too, so that a single one makes a gradient of 1e12, or infinity in half
    precision; here a zero row has a gradient of zero.

    Parameters
    ----------
    x : Tensor, (..., D, ...) float
    dim : int

    Returns
    -------
    Tensor, the shape of `x`
    """
    length = torch.linalg.vector_norm(x, dim=dim, keepdim=True)
    short = length < _SHORTEST
    return torch.where(short, 0.0, x / torch.where(short, 1.0, length))
