"""The two small ops beside neighbourhood clustering, one launch each.

Rows of a memory move towards new features, and class entropies are pushed away from a threshold.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _moved(memory, features, momentum, k, WIDTH: tl.constexpr, KEEP: tl.constexpr):
    """Elements k of a row before it is scaled to length one."""
    inside = k < WIDTH
    new = tl.load(features + k, mask=inside, other=0.0).to(tl.float32)
    if KEEP:
        old = tl.load(memory + k, mask=inside, other=0.0).to(tl.float32)
        new = momentum * old + (1 - momentum) * new
    return new


# one program a sample; no row is named twice, so that no other program touches it
@triton.jit(do_not_specialize_on_alignment=["indices"])
def memory_update_kernel(
    memory,
    features,
    indices,
    momentum,
    WIDTH: tl.constexpr,
    STEP: tl.constexpr,
    KEEP: tl.constexpr,
    BK: tl.constexpr,
):
    sample = tl.program_id(0).to(tl.int64)
    to = memory + tl.load(indices + sample) * STEP
    new = features + sample * WIDTH
    squares = tl.zeros((BK,), dtype=tl.float32)
    for first in range(0, WIDTH, BK):
        value = _moved(to, new, momentum, first + tl.arange(0, BK), WIDTH, KEEP)
        squares += value * value
    # as torch.nn.functional.normalize; a maximum would drop a NaN
    norm = tl.sqrt(tl.sum(squares, axis=0))
    norm = tl.where(norm < 1e-12, 1e-12, norm)
    for first in range(0, WIDTH, BK):
        k = first + tl.arange(0, BK)
        value = _moved(to, new, momentum, k, WIDTH, KEEP) / norm
        tl.store(to + k, value.to(memory.dtype.element_ty), mask=k < WIDTH)


# one program: the few samples of a batch are summed in their order
@triton.jit(do_not_specialize=["batch", "classes"])
def entropy_separation_kernel(
    logits,
    value,
    grads,
    batch,
    classes,
    rho,
    margin,
    eps,
    GRAD: tl.constexpr,
    BB: tl.constexpr,
    BC: tl.constexpr,
):
    column = tl.arange(0, BC)
    total = tl.zeros((BB,), dtype=tl.float32)
    for first in range(0, batch, BB):
        row = first + tl.arange(0, BB)
        inside = (row < batch)[:, None] & (column < classes)[None, :]
        at = row[:, None].to(tl.int64) * classes + column[None, :]
        x = tl.load(logits + at, mask=inside, other=float("-inf")).to(tl.float32)
        # rows past the last have no finite logit
        highest = tl.where(row < batch, tl.max(x, axis=1), 0.0)
        weight = tl.exp(x - highest[:, None])
        p = weight / tl.where(row < batch, tl.sum(weight, axis=1), 1.0)[:, None]
        surprise = -tl.log(p + eps)
        entropy = tl.sum(tl.where(inside, p * surprise, 0.0), axis=1)
        away = entropy - rho
        held = (tl.abs(away) <= margin) | (row >= batch)
        total += tl.where(held, 0.0, -tl.abs(away))
        if GRAD:
            slope = surprise - p / (p + eps)
            mean = tl.sum(tl.where(inside, p * slope, 0.0), axis=1)
            # the sign of a NaN is one
            sign = tl.where(held, 0.0, -away / tl.abs(away)) / batch
            tl.store(grads + at, sign[:, None] * p * (slope - mean[:, None]), mask=inside)
    tl.store(value, tl.sum(total, axis=0) / batch)
