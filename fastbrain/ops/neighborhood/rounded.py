"""Neighbourhood clustering in the precision of bfloat16 tensors, by PyTorch matmuls.

Each product with the memory is made once and its result rounded to bfloat16, as in eager PyTorch:
logits have three digits. Statistics are in float32, and what eager code rounds again, the division
by the temperature and the weights before and after theirs, is rounded once here.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ... import _native
from .._tensors import address
from .checks import norms_of, not_unit

# Numbers of a block of the memory, which is in the last-level cache while its norms are taken, and
# what its rows are a multiple of: csrc/neighborhood_scores.h, kScoreRows.
_BLOCK, _ROWS = 1 << 22, 512


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
    """Write the results of the operator, as :func:`.products.run` does.

    Parameters
    ----------
    out : tuple of Tensor
        Entropy (), derivatives (B, D) by the features and (C, D) by the others, float32.
    features : Tensor, (B, D) bfloat16
    others : Tensor, (C, D) bfloat16
    memory : Tensor, (N, D) bfloat16
        Neighbouring elements of a row are adjacent.
    indices : Tensor, (B,) int64
    temperature, eps : float
    own : int
        As in the schema of the operator.

    Raises
    ------
    InputError
        A row of the memory has a norm other than 0 or 1.
    """
    (batch, width), size, extras = features.shape, memory.shape[0], others.shape[0]
    value, grad_features, grad_others = out
    count = max(_ROWS, _BLOCK // width // _ROWS * _ROWS)
    blocks = memory.split(count)
    norms = memory.new_empty(size, dtype=torch.float32)
    flat = memory.new_empty((size + extras) * batch)
    # a matrix (B, rows) of each block, which the second product reads in order
    *cosines, nearby = (
        part.view(batch, -1) for part in flat.split([len(b) * batch for b in (*blocks, others)])
    )
    # out= throughout: autocast leaves such products in their precision
    for rows, to, into in zip(blocks, cosines, norms.split(count), strict=True):
        norms_of(rows, into)
        torch.mm(features, rows.T, out=to)
    torch.mm(features, others.T, out=nearby)
    grad = grad_features.numel() > 0
    refused = _native.neighborhood_weights(
        scores=address(flat),
        block=count,
        step=0,
        factor=1 / temperature,
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
    scale = 1 / (temperature * batch)
    part = torch.empty_like(others)
    torch.mul(torch.mm(nearby.T, features, out=part), scale, out=grad_others)
    part = torch.empty_like(features)
    grad_features.copy_(torch.mm(nearby, others, out=part))
    for weights, rows in zip(cosines, blocks, strict=True):
        grad_features.add_(torch.mm(weights, rows, out=part))
    grad_features.mul_(scale)
