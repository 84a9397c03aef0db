"""Vectors to codes and back: a learned codebook, or finite scalars.

Both take a mask; a masked vector has no code (-1), a zero in place of its quantised value, no loss,
and never moves the codebook.

Where ``torch.distributed`` runs several processes they keep one codebook, as if each batch were the
batches of all.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch import distributed as dist

from .. import ops
from ..errors import InputError
from ..ops.lengths import unit
from .config import QuantiserConfig


@dataclass(frozen=True)
class Quantised:
    """What a quantiser makes of vectors.

    Parameters
    ----------
    vectors : Tensor, (..., D)
        What was quantised: of length one for the cosine.
    values : Tensor, (..., D)
        The codes; gradients reach the encoder through them.
    indices : Tensor, (...) int64
        -1 where masked.
    commitment : Tensor, scalar
        Mean squared distance between vector and code.
    """

    vectors: Tensor
    values: Tensor
    indices: Tensor
    commitment: Tensor


class VectorQuantiser(nn.Module):
    """The nearest code of a learned codebook, with moving averages in place of gradients.

    Parameters
    ----------
    config : QuantiserConfig
    """

    codebook: Tensor
    count: Tensor
    total: Tensor
    started: Tensor

    def __init__(self, config: QuantiserConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("codebook", torch.zeros(config.codes, config.dim))
        self.register_buffer("count", torch.zeros(config.codes))
        self.register_buffer("total", torch.zeros(config.codes, config.dim))
        self.register_buffer("started", torch.tensor(False))

    @property
    def state(self) -> ops.VQState:
        """Codebook and moving averages, shared with this module."""
        return ops.VQState(self.codebook, self.count, self.total)

    def start(
        self,
        z: Tensor,
        *,
        mask: Tensor | None = None,
        generator: torch.Generator | None = None,
        group: dist.ProcessGroup | None = None,
    ) -> None:
        """Put the codebook where the vectors are, by k-means.

        Parameters
        ----------
        z : Tensor, (..., D)
            At least as many as there are codes.
        mask : Tensor, (...) bool, optional
        generator : Generator, optional
            The first process's counts.
        group : ProcessGroup, optional
            Processes whose vectors count as one. Default: all there are.

        Raises
        ------
        InputError
            Fewer vectors than codes.
        """
        state = ops.vq_init(
            self._prepared(z.detach()),
            self.config.codes,
            iterations=self.config.init_iterations,
            generator=generator,
            mask=mask,
            group=group or everyone(),
        )
        for name in ("codebook", "count", "total"):
            getattr(self, name).copy_(getattr(state, name))
        self.started.fill_(True)

    def forward(self, z: Tensor, mask: Tensor | None = None) -> Quantised:
        """Quantise `z` (..., D) where `mask` (...) is true; the codebook stays as it is."""
        if not self.started:
            raise InputError(
                "VectorQuantiser: the codebook must have been started, got an empty one. Call "
                "start() with vectors of the encoder, or load trained weights."
            )
        # under autocast too, the codebook's own precision
        vectors = self._prepared(blank(z, mask).to(self.codebook.dtype))
        indices = ops.vq_lookup(vectors, self.codebook, metric=self.config.metric, mask=mask)
        codes = self.values_of(indices)
        turn = rotated if self.config.gradient == "rotation" else straight_through
        values = turn(vectors, codes)
        distance = (vectors - codes).square().mean(dim=-1)
        if mask is None:
            return Quantised(vectors, values, indices, distance.mean())
        commitment = torch.where(mask, distance, 0.0).sum() / mask.sum().clamp_min(1)
        return Quantised(vectors, blank(values, mask), indices, commitment)

    def values_of(self, indices: Tensor) -> Tensor:
        """Codes (..., D) of `indices` (...); any for -1."""
        codes = self.codebook[indices.clamp_min(0)]
        return unit(codes) if self.config.metric == "cosine" else codes

    @torch.no_grad()
    def update(
        self,
        vectors: Tensor,
        indices: Tensor,
        *,
        mask: Tensor | None = None,
        group: dist.ProcessGroup | None = None,
    ) -> None:
        """Move the codebook towards what its codes were used for, and revive dead codes.

        Parameters
        ----------
        vectors : Tensor, (..., D)
            As :class:`Quantised` has them.
        indices : Tensor, (...) int64
        mask : Tensor, (...) bool, optional
        group : ProcessGroup, optional
            Processes whose batches count as one; each of them has to call. Default: all there are.
        """
        config, group = self.config, group or everyone()
        vectors = vectors.detach()
        ops.vq_update_(self.state, vectors, indices, decay=config.decay, mask=mask, group=group)
        if config.dead_below:
            threshold = config.dead_below * float(self.count.mean())
            ops.vq_replace_dead_(self.state, vectors, threshold=threshold, mask=mask, group=group)

    def _prepared(self, z: Tensor) -> Tensor:
        return unit(z) if self.config.metric == "cosine" else z


class ScalarQuantiser(nn.Module):
    """Each dimension rounded to one of a few levels (FSQ, arXiv 2309.15505, section 3).

    Parameters
    ----------
    config : QuantiserConfig
    """

    levels: Tensor
    radix: Tensor

    def __init__(self, config: QuantiserConfig) -> None:
        super().__init__()
        self.config = config
        levels = torch.tensor(config.levels)
        self.register_buffer("levels", levels, persistent=False)
        self.register_buffer("radix", levels.cumprod(0) // levels, persistent=False)

    def start(
        self,
        z: Tensor,
        *,
        mask: Tensor | None = None,
        generator: torch.Generator | None = None,
        group: dist.ProcessGroup | None = None,
    ) -> None:
        """There is no codebook to start."""

    def forward(self, z: Tensor, mask: Tensor | None = None) -> Quantised:
        """Quantise `z` (..., D) where `mask` (...) is true."""
        half = (self.levels - 1) / 2
        # an even number of levels has none at zero: the grid is shifted by half a step
        shift = torch.where(self.levels % 2 == 0, 0.5, 0.0)
        # a little beyond the last level, so that two levels have a finite shift
        edge = half * (1 + 1e-3)
        z = blank(z, mask).float()
        bounded = torch.tanh(z + torch.atanh(shift / edge)) * edge - shift
        rounded = bounded.round()
        digits = (rounded + self.levels // 2).long()
        indices = (digits * self.radix).sum(dim=-1)
        values = self.values_of(indices)
        values = straight_through(bounded / (self.levels // 2), values)
        if mask is not None:
            indices = torch.where(mask, indices, -1)
        return Quantised(z, blank(values, mask), indices, values.new_zeros(()))

    def values_of(self, indices: Tensor) -> Tensor:
        """Values (..., D) in [-1, 1] of `indices` (...); any for -1."""
        digits = indices.clamp_min(0)[..., None] // self.radix % self.levels
        middle = self.levels // 2
        return (digits - middle) / middle

    def update(
        self,
        vectors: Tensor,
        indices: Tensor,
        *,
        mask: Tensor | None = None,
        group: dist.ProcessGroup | None = None,
    ) -> None:
        """There is no codebook to move."""


Quantiser = VectorQuantiser | ScalarQuantiser


def make_quantiser(config: QuantiserConfig) -> Quantiser:
    """The quantiser a configuration asks for."""
    return VectorQuantiser(config) if config.kind == "vq" else ScalarQuantiser(config)


def everyone() -> dist.ProcessGroup | None:
    """All processes, or None where this is the only one."""
    if not dist.is_available() or not dist.is_initialized() or dist.get_world_size() == 1:
        return None
    return dist.group.WORLD


def blank(x: Tensor, mask: Tensor | None) -> Tensor:
    """Zeros in place of the rows of `x` (..., D) where `mask` (...) is false, NaN included."""
    return x if mask is None else torch.where(mask[..., None], x, 0.0)


def straight_through(vectors: Tensor, codes: Tensor) -> Tensor:
    """`codes` in value, with the gradient of `vectors`."""
    return vectors + (codes - vectors).detach()


def rotated(vectors: Tensor, codes: Tensor) -> Tensor:
    """`codes` in value; gradients are turned and stretched from code to vector.

    ``q = λ R e`` with the rotation R of e onto q held constant (arXiv 2410.06424, section 4.2). A
    vector of zero has no direction: it gets the gradient of its code as it is.
    """
    e, q = unit(vectors.detach()), unit(codes.detach())
    r = unit(e + q)
    length = vectors.detach().norm(dim=-1, keepdim=True)
    directed = length >= 1e-12
    stretch = codes.detach().norm(dim=-1, keepdim=True) / torch.where(directed, length, 1.0)
    turned = (
        vectors
        - 2 * r * (r * vectors).sum(dim=-1, keepdim=True)
        + 2 * q * (e * vectors).sum(dim=-1, keepdim=True)
    )
    return torch.where(directed, stretch * turned, straight_through(vectors, codes))
