"""Products with a bfloat16 memory on CPUs that multiply tiles of it (AMX), in C++."""

from __future__ import annotations

import torch
from torch import Tensor

from ... import _native
from .._tensors import address

# width of a tile: csrc/neighborhood_tiles.h, kNeighborhoodTile
_WIDTH = 32


def suits(memory: Tensor) -> bool:
    """Return whether the CPU has the kernels, and the memory a shape that they take."""
    even = memory.shape[1] % _WIDTH == 0 and memory.stride(0) % 2 == 0
    return even and hasattr(_native, "neighborhood_tiles_scores")


def scores(features: Tensor, memory: Tensor, factor: float, norms: Tensor, logits: Tensor) -> None:
    """Write logits, the cosines times a factor, and the norms of the memory, which is read once.

    Parameters
    ----------
    features : Tensor, (B, D) bfloat16
    memory : Tensor, (N, D) bfloat16
    factor : float
    norms : Tensor, (N,) float32
        Written.
    logits : Tensor, (at least N, S) float32
        Written: the first B columns of the first N rows. S is a multiple of 16.
    """
    _native.neighborhood_tiles_scores(
        memory=address(memory),
        sizes=(*memory.shape, memory.stride(0)),
        features=address(features),
        batch=len(features),
        factor=factor,
        logits=address(logits),
        step=logits.shape[1],
        norms=address(norms),
        threads=torch.get_num_threads(),
    )


def product(weights: Tensor, memory: Tensor, batch: int, *, rounds: bool) -> Tensor:
    """Return weights, transposed, times the memory: (B, D) float32.

    Parameters
    ----------
    weights : Tensor, (at least N, S) float32
        The first B columns of the first N rows are read. S is a multiple of 16.
    memory : Tensor, (N, D) bfloat16
    batch : int
        B.
    rounds : bool
        Whether weights are rounded to bfloat16; otherwise they are the sum of two such numbers, and
        the result is as in float32.
    """
    grad = weights.new_empty(batch, memory.shape[1])
    _native.neighborhood_tiles_products(
        memory=address(memory),
        sizes=(*memory.shape, memory.stride(0)),
        weights=address(weights),
        batch=batch,
        step=weights.shape[1],
        rounds=rounds,
        grad=address(grad),
        threads=torch.get_num_threads(),
    )
    return grad
