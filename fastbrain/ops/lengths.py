"""Normalisation of rows to length one, with finite gradients for all rows."""

from __future__ import annotations

import torch
from torch import Tensor

# shorter rows are treated as zero
_SHORTEST = 1e-12


def unit(x: Tensor, *, dim: int = -1) -> Tensor:
    """Divide by the length along an axis; vectors shorter than 1e-12 become zero.

    For all other rows the result equals ``torch.nn.functional.normalize``. That function divides a
    zero row by 1e-12 in the backward pass too, so a single zero row gives a gradient of 1e12, or
    infinity in half precision; here a zero row has a gradient of zero.

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
