"""Losses, random numbers and features of a batch that several processes share.

Each process computes the rows of its :class:`Shard`. Loss terms and gradients of the processes are
added up, so every process contributes its share of a term: a mean over its own rows is weighted by
their part of the joined batch, and a loss of the joined batch (contrastive, say) is computed by all
processes on the gathered rows and divided by their number. Random numbers are drawn for the joined
batch, and each process takes its rows. With one process all functions return their input.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch import distributed as dist

from .._shards import Shard

_current: Shard | None = None


def current() -> Shard | None:
    """Return the shard of the batch that is being computed; None for a whole batch."""
    return _current


@contextmanager
def within(shard: Shard | None) -> Iterator[None]:
    """Context manager that sets the shard of the batch that is being computed."""
    global _current
    before, _current = _current, shard
    try:
        yield
    finally:
        _current = before


def share(mean: Tensor, count: Tensor | int | None = None) -> Tensor:
    """Weight a mean over own rows by their part of the joined batch.

    Parameters
    ----------
    mean : Tensor, scalar
    count : Tensor, scalar, or int, optional
        Number of values in the mean (tokens, say). Default: the rows of the shard.
    """
    shard = _current
    if shard is None:
        return mean
    if count is None:
        return mean * (shard.rows / shard.total)
    own = torch.as_tensor(count, device=mean.device).detach().double() * bool(shard.rows)
    total = own.clone()
    dist.all_reduce(total)
    return mean * (own / total.clamp_min(1)).to(mean.dtype)


def joint(loss: Tensor) -> Tensor:
    """Divide a loss that every process has computed on the gathered rows."""
    return loss if _current is None else loss / dist.get_world_size()


def agreed(flag: Tensor | bool, device: torch.device) -> bool:
    """Return whether a flag is true in every process."""
    if _current is None:
        return bool(flag)
    value = torch.as_tensor(flag, device=device).to(torch.int32)
    dist.all_reduce(value, dist.ReduceOp.MIN)
    return bool(value)


def draw(make: Callable[[int], Tensor], rows: int) -> Tensor:
    """Draw random numbers for the rows of a batch.

    Parameters
    ----------
    make : callable
        Draws for a number of rows: ``lambda n: torch.rand(n, 5)``.
    rows : int
        Own rows; a multiple of the windows of the shard.
    """
    shard = _current
    if shard is None:
        return make(rows)
    each = rows // max(1, shard.rows)
    return make(each * shard.total).narrow(0, each * min(shard.start, shard.total - 1), rows)


def gather(x: Tensor) -> Tensor:
    """Concatenate the rows of all processes, in the order of the joined batch, with gradients.

    Parameters
    ----------
    x : Tensor, (rows, ...)

    Returns
    -------
    Tensor, (total, ...)
    """
    return x if _current is None else _Gathered.apply(x, _current)


class _Gathered(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, shard: Shard) -> Tensor:
        ctx.shard, ctx.own = shard, len(x)
        # sums with zeros: rows may differ in number, and every process receives the same bits
        whole = x.new_zeros(shard.total, *x.shape[1:])
        whole[shard.start : shard.start + shard.rows] = x[: shard.rows]
        dist.all_reduce(whole)
        return whole

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        shard = ctx.shard
        whole = gradient.contiguous().clone()
        dist.all_reduce(whole)
        own = whole[shard.start : shard.start + shard.rows]
        return F.pad(own, (0, 0) * (own.ndim - 1) + (0, ctx.own - len(own))), None


class Dropout(nn.Dropout):
    """Dropout with the mask of the joined batch, of which a process takes its rows."""

    def forward(self, x: Tensor) -> Tensor:
        """Drop values of `x` (rows, ...), where rows is a multiple of the windows of a batch."""
        if _current is None or not self.training or not self.p:
            return super().forward(x)
        kept = 1 - self.p
        mask = draw(lambda n: x.new_empty(n, *x.shape[1:]).bernoulli_(kept), len(x))
        return x * mask.div(kept)
