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
from . import tiles
from .checks import norms_of, not_unit

# Numbers of a block of the memory: its norms are taken while it is in the second-level cache.
_BLOCK = 1 << 19
# whether PyTorch has its own products of bfloat16 here, rather than converting to float32
MULTIPLIES_BFLOAT16 = (
    torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
)
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
    *,
    rounds: bool = False,
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
    rounds : bool
        Whether weights may be rounded to bfloat16 where tiles multiply them.

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
    scaled, narrow = features / temperature, exact_in_bfloat16(features, memory)
    tiled = narrow and tiles.suits(memory)
    # out= throughout: autocast leaves such products in their precision
    torch.mm(others, scaled.T, out=scores[size:])
    if tiled:
        tiles.scores(features.bfloat16(), memory, 1 / temperature, norms, logits)
    elif narrow:
        _narrow_scores(features, memory, 1 / temperature, norms, scores)
    else:
        for begin, rows in _blocks(memory, features):
            end = begin + len(rows)
            norms_of(rows, norms[begin:end])
            torch.mm(rows, scaled.T, out=scores[begin:end])
    double = features.dtype == torch.float64
    weigh = _native.neighborhood_weights_double if double else _native.neighborhood_weights
    refused = weigh(
        scores=address(logits),
        block=0,
        step=step,
        factor=1.0,
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
    if tiled:
        grad_features.add_(tiles.product(logits, memory, batch, rounds=rounds))
    elif narrow:
        grad_features.add_(_narrow_product(scores[:size], memory))
    elif memory.dtype == features.dtype:
        grad_features.addmm_(scores[:size].T, memory)
    else:
        for begin, rows in _blocks(memory, features):
            grad_features.addmm_(scores[begin : begin + len(rows)].T, rows)
    grad_features.div_(temperature * batch)


def exact_in_bfloat16(features: Tensor, memory: Tensor) -> bool:
    """Return whether the products with the memory can be made in bfloat16 without rounding.

    So it is for features that were bfloat16 before they were float32: no other is ever lowered.
    """
    if memory.dtype != torch.bfloat16 or features.dtype != torch.float32:
        return False
    if not MULTIPLIES_BFLOAT16:
        return False
    return torch.equal(features, features.bfloat16().float())


def _narrow_scores(
    features: Tensor, memory: Tensor, inv_temperature: float, norms: Tensor, scores: Tensor
) -> None:
    """Write logits (N, B) and norms (N) of a bfloat16 memory, as of float32 products.

    PyTorch sums in float32 but rounds the sum to bfloat16: a second product from which the rounded
    sum is subtracted, before it is rounded itself, gives the rest.
    """
    narrow, count = features.bfloat16().T, _narrow_rows(memory)
    high, rest = (memory.new_empty(min(count, len(memory)), len(features)) for _ in range(2))
    for begin in range(0, len(memory), count):
        rows = memory[begin : begin + count]
        h, r, to = high[: len(rows)], rest[: len(rows)], scores[begin : begin + len(rows)]
        norms_of(rows, norms[begin : begin + len(rows)])
        torch.mm(rows, narrow, out=h)
        torch.addmm(h, rows, narrow, beta=-1, out=r)
        to.copy_(h).add_(r).mul_(inv_temperature)


def _narrow_product(weights: Tensor, memory: Tensor) -> Tensor:
    """Return weights (N, B), transposed, times a bfloat16 memory, as in float32.

    The weights are the sum of two parts in bfloat16. As for the logits, another product gives what
    rounding the larger result lost; without it the derivative would be rounded twice.
    """
    high = weights.bfloat16()
    low = weights.sub_(high).bfloat16()
    part, rest = (memory.new_empty(weights.shape[1], memory.shape[1]) for _ in range(2))
    whole = torch.mm(high.T, memory, out=torch.empty_like(part))
    torch.addmm(whole, high.T, memory, beta=-1, out=rest)
    torch.mm(low.T, memory, out=part)
    return part.float().add_(rest).add_(whole)


def _narrow_rows(memory: Tensor) -> int:
    return max(64, 2 * _BLOCK // memory.shape[1])


def _blocks(memory: Tensor, features: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Yield (first row, rows) of the memory, in the dtype of the features."""
    count = max(64, _BLOCK // memory.shape[1])
    same = memory.dtype == features.dtype
    buffer = None if same else features.new_empty(min(count, len(memory)), memory.shape[1])
    for begin in range(0, len(memory), count):
        rows = memory[begin : begin + count]
        yield begin, rows if buffer is None else buffer[: len(rows)].copy_(rows)
