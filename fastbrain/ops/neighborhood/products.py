"""Neighbourhood clustering by PyTorch matmuls, with its statistics in C++.

Wide rows leave little but the two products with the memory, and the BLAS of PyTorch multiplies them
as fast as the machine can. Around them, a C++ kernel masks, sums and weighs the similarities in
place: one matrix (N + C, B) is all that is held.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ... import _native
from .._tensors import address
from .checks import not_unit

# Numbers of a block of the memory: its norms are taken while it is in the second-level cache.
_BLOCK = 1 << 19
# a row of similarities begins at a full vector of any instruction set
_LANES = 16


def run(
    out: tuple[Tensor, Tensor, Tensor],
    features: Tensor,
    others: Tensor,
    memory: Tensor,
    indices: Tensor,
    temperature: float,
    eps: float,
    own: int,
) -> None:
    """Write the results of the operator: the mean entropy and its derivatives, empty if not wanted.

    Parameters
    ----------
    out : tuple of Tensor
        Entropy (), derivatives (B, D) by the features and (C, D) by the others.
    features : Tensor, (B, D) float32 or float64
    others : Tensor, (C, D)
        In the dtype of the features.
    memory : Tensor, (N, D)
        Of any float dtype; neighbouring elements of a row are adjacent.
    indices : Tensor, (B,) int64
    temperature, eps : float
    own : int
        As in the schema of the operator.

    Raises
    ------
    InputError
        A row of the memory has a norm other than 0 or 1.
    """
    batch, size, extras = len(features), len(memory), len(others)
    value, grad_features, grad_others = out
    grad = grad_features.numel() > 0
    step = -(-batch // _LANES) * _LANES
    logits = features.new_empty(size + extras, step)
    scores, norms = logits[:, :batch], features.new_empty(size)
    scaled = features / temperature
    # out= throughout: autocast leaves such products in their precision
    torch.mm(others, scaled.T, out=scores[size:])
    for begin, rows in _blocks(memory, features):
        end = begin + len(rows)
        torch.linalg.vector_norm(rows, dim=1, out=norms[begin:end])
        torch.mm(rows, scaled.T, out=scores[begin:end])
    double = features.dtype == torch.float64
    weigh = _native.neighborhood_weights_double if double else _native.neighborhood_weights
    refused = weigh(
        logits=address(logits),
        step=step,
        norms=address(norms),
        indices=address(indices),
        own=own if eps else -1,
        batch=batch,
        size=size,
        extras=extras,
        eps=eps,
        entropy=address(value),
        weights=grad,
        threads=torch.get_num_threads(),
    )
    if refused >= 0:
        raise not_unit(refused, float(memory[refused].double().norm()))
    if not grad:
        return
    torch.mm(scores[size:], scaled, out=grad_others).div_(batch)
    torch.mm(scores[size:].T, others, out=grad_features)
    if memory.dtype == features.dtype:
        grad_features.addmm_(scores[:size].T, memory)
    else:
        for begin, rows in _blocks(memory, features):
            grad_features.addmm_(scores[begin : begin + len(rows)].T, rows)
    grad_features.div_(temperature * batch)


def _blocks(memory: Tensor, features: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Yield (first row, rows) of the memory, in the dtype of the features."""
    count = max(64, _BLOCK // memory.shape[1])
    same = memory.dtype == features.dtype
    buffer = None if same else features.new_empty(min(count, len(memory)), memory.shape[1])
    for begin in range(0, len(memory), count):
        rows = memory[begin : begin + count]
        yield begin, rows if buffer is None else buffer[: len(rows)].copy_(rows)
