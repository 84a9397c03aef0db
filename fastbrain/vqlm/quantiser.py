"""Quantisers: a learned codebook (VQ), or finite scalar quantisation (FSQ).

Both accept a mask. A masked vector has the index -1, a quantised value of zero and no loss, and it
does not update the codebook.

Several processes of ``torch.distributed`` maintain one codebook, as if their batches were
concatenated.
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
    """Output of a quantiser: vectors, quantised values, indices and commitment loss.

    Parameters
    ----------
    vectors : Tensor, (..., D)
        The vectors before quantisation, of length one for the cosine metric.
    values : Tensor, (..., D)
        Quantised values; gradients reach the encoder through them.
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
    """Nearest-code quantiser with a codebook updated by moving averages instead of gradients.

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
        """Codebook and moving averages; the tensors are shared with this module."""
        return ops.VQState(self.codebook, self.count, self.total)

    def start(
        self,
        z: Tensor,
        *,
        mask: Tensor | None = None,
        generator: torch.Generator | None = None,
        group: dist.ProcessGroup | None = None,
    ) -> None:
        """Initialise the codebook by k-means on the vectors.

        Parameters
        ----------
        z : Tensor, (..., D)
            At least as many vectors as codes.
        mask : Tensor, (...) bool, optional
        generator : Generator, optional
            With several processes, the generator of the first one is used.
        group : ProcessGroup, optional
            Processes that pool their vectors. Default: all processes.

        Raises
        ------
        InputError
            There are fewer vectors than codes.
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
        """Quantise `z` (..., D) where `mask` (...) is true, without updating the codebook."""
        if not self.started:
            raise InputError(
                "VectorQuantiser: the codebook must have been started, got an empty one. Call "
                "start() with vectors of the encoder, or load trained weights."
            )
        # use the precision of the codebook, also under autocast
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
        """Look up codes (..., D) of `indices` (...); undefined where the index is -1."""
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
        """Move each code towards the vectors assigned to it, and replace dead codes.

        Parameters
        ----------
        vectors : Tensor, (..., D)
            Vectors from :class:`Quantised`.
        indices : Tensor, (...) int64
        mask : Tensor, (...) bool, optional
        group : ProcessGroup, optional
            Processes that pool their batches; each must make this call. Default: all processes.
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
    """Rounds each dimension to one of a few levels (FSQ, arXiv 2309.15505, section 3).

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
        """Do nothing: FSQ has no codebook to initialise."""

    def forward(self, z: Tensor, mask: Tensor | None = None) -> Quantised:
        """Quantise `z` (..., D) where `mask` (...) is true."""
        half = (self.levels - 1) / 2
        # an even number of levels has no level at zero, so the grid is shifted by half a step
        shift = torch.where(self.levels % 2 == 0, 0.5, 0.0)
        # slightly beyond the last level, so that atanh is finite for two levels
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
        """Look up values (..., D) in [-1, 1] of `indices` (...); undefined for index -1."""
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
        """Do nothing: FSQ has no codebook to update."""


Quantiser = VectorQuantiser | ScalarQuantiser


def make_quantiser(config: QuantiserConfig) -> Quantiser:
    """Build the quantiser of a configuration."""
    return VectorQuantiser(config) if config.kind == "vq" else ScalarQuantiser(config)


def everyone() -> dist.ProcessGroup | None:
    """Return the group of all processes, or None for a single process."""
    if not dist.is_available() or not dist.is_initialized() or dist.get_world_size() == 1:
        return None
    return dist.group.WORLD


def blank(x: Tensor, mask: Tensor | None) -> Tensor:
    """Set rows of `x` (..., D) to zero where `mask` (...) is false, also if they contain NaN."""
    return x if mask is None else torch.where(mask[..., None], x, 0.0)


def straight_through(vectors: Tensor, codes: Tensor) -> Tensor:
    """Return the values of `codes`, with the gradient passed to `vectors` unchanged."""
    return vectors + (codes - vectors).detach()


def rotated(vectors: Tensor, codes: Tensor) -> Tensor:
    """Return the values of `codes`, with gradients rotated and scaled from code to vector.

    ``q = λ R e`` with the rotation R of e onto q held constant (arXiv 2410.06424, section 4.2). A
    zero vector has no direction and receives the gradient of its code unchanged.
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
