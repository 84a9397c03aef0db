"""Builders of the ops' test inputs, from one seeded source of numbers.

The same numbers come in any precision: they are drawn in float64, rounded to the working dtype, and
for the truth widened again, so that what is compared is arithmetic, not rounding of the inputs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..grid import TokenGrid, Triple
from .lora import LoraWeights
from .vq import VQState


@dataclass(frozen=True)
class Call:
    """Arguments of one call; `leaves` get gradients, `changed` are what an in-place op writes."""

    args: tuple[Any, ...]
    options: dict[str, Any] = field(default_factory=dict)
    leaves: tuple[Tensor, ...] = ()
    changed: tuple[Tensor, ...] = ()


@dataclass(frozen=True)
class Numbers:
    """Source of a case's tensors: drawn in float64, rounded to `dtype`, held as `held`."""

    generator: torch.Generator
    dtype: torch.dtype
    held: torch.dtype
    device: torch.device

    def normal(self, *shape: int, scale: float = 1.0, leaf: bool = False) -> Tensor:
        """Standard normal times `scale`."""
        drawn = torch.randn(*shape, generator=self.generator, dtype=torch.float64) * scale
        return self.round(drawn).requires_grad_(leaf)

    def unit(self, *shape: int, leaf: bool = False) -> Tensor:
        """Rows of norm one."""
        drawn = torch.randn(*shape, generator=self.generator, dtype=torch.float64)
        return self.round(F.normalize(drawn, dim=-1)).requires_grad_(leaf)

    def round(self, values: Tensor) -> Tensor:
        """Round to the working precision."""
        return values.to(self.dtype).to(device=self.device, dtype=self.held)

    def whole(self, low: int, high: int, *shape: int) -> Tensor:
        """Integers in [low, high)."""
        return torch.randint(low, high, shape, generator=self.generator).to(self.device)

    def rows(self, size: int, count: int) -> Tensor:
        """Distinct row numbers below `size`."""
        return torch.randperm(size, generator=self.generator)[:count].to(self.device)


def tokenizer(
    shape: Triple,
    kernel: Triple,
    stride: Triple | None = None,
    *,
    batch: int,
    frames: int,
    features: int,
    packed: bool = False,
    statistics: str = "volume",
    stored: torch.dtype = torch.int16,
    view: str = "",
    share: float = 0.6,
) -> Callable[[Numbers], Call]:
    """Windows of stored values, NaN outside the mask where they are floats."""

    def build(numbers: Numbers) -> Call:
        drawn = np.random.default_rng(7).random(shape)
        grid = TokenGrid.from_mask((drawn < share) | (drawn == drawn.min()), kernel, stride)
        values = numbers.whole(-3000, 3000, batch, frames, *shape).to(stored)
        mask = torch.from_numpy(grid.mask).to(numbers.device)
        if stored != torch.int16:
            # scanners and masks leave NaN outside the brain: it must never be read
            values = torch.where(mask, values, torch.nan)
        offsets = torch.from_numpy(grid.offsets).to(numbers.device)

        def pack(t: Tensor) -> Tensor:
            return torch.where(offsets >= 0, t.flatten(-3)[..., offsets.clamp_min(0)], 0)

        if packed:
            values = pack(values).to(stored)
        if view == "strided":
            values = values.transpose(-1, -2).contiguous().transpose(-1, -2)
        if view == "offset":
            values = torch.cat([values, values])[batch:]
        scale = 0.002
        mean = (numbers.whole(-500, 500, *shape) * scale).float()
        inv_std = 1 / (numbers.whole(1, 9, *shape).float())
        if statistics == "packed":
            mean, inv_std = pack(mean), pack(inv_std)
        options: dict[str, Any] = {"grid": grid, "scale": scale}
        if statistics:
            options |= {"mean": mean, "inv_std": inv_std}
        weight = numbers.normal(features, frames, *kernel, scale=0.1, leaf=True)
        bias = numbers.normal(features, leaf=True)
        return Call((values, weight, bias), options, (weight, bias))

    return build


def linear(
    lead: tuple[int, ...],
    d_in: int,
    d_out: int,
    rank: int,
    activation: str | None = None,
    *,
    bias: bool = True,
    view: str = "",
) -> Callable[[Numbers], Call]:
    """A linear layer and its adaptor."""

    def build(numbers: Numbers) -> Call:
        x = numbers.normal(*lead, d_in, leaf=True)
        weight = numbers.normal(d_out, d_in, scale=d_in**-0.5, leaf=True)
        offset = numbers.normal(d_out, leaf=True) if bias else None
        a = numbers.normal(rank, d_in, scale=d_in**-0.5, leaf=True)
        b = numbers.normal(d_out, rank, leaf=True)
        leaves = tuple(t for t in (x, weight, offset, a, b) if t is not None)
        seen = x.transpose(0, 1) if view == "strided" else x[1:] if view == "offset" else x
        options = {"scale": 0.5, "activation": activation}
        return Call((seen, weight, offset, a, b), options, leaves)

    return build


def attention(
    batch: int, length: int, heads: int, width: int, targets: str, *, masked: bool = False
) -> Callable[[Numbers], Call]:
    """Self-attention with adaptors on the named projections."""

    def build(numbers: Numbers) -> Call:
        x = numbers.normal(batch, length, width, leaf=True)
        qkv = numbers.normal(3 * width, width, scale=width**-0.5), numbers.normal(3 * width)
        out = numbers.normal(width, width, scale=width**-0.5), None
        adaptors = {}
        for name in targets.split():
            a = numbers.normal(3, width, scale=width**-0.5, leaf=True)
            adaptors[name] = LoraWeights(a, numbers.normal(width, 3, leaf=True), 0.5, "gelu")
        options: dict[str, Any] = {"adaptors": adaptors, "num_heads": heads}
        if masked:
            everything = torch.ones(1, 1, length, length, dtype=torch.bool, device=numbers.device)
            options["mask"] = everything.tril()
        leaves = (x, *(t for w in adaptors.values() for t in (w.a, w.b)))
        return Call((x, qkv, out), options, leaves)

    return build


def clustering(
    batch: int, classes: int, size: int, width: int, variant: str, temperature: float = 0.05
) -> Callable[[Numbers], Call]:
    """Unit features, prototypes and a memory with one unvisited row."""

    def build(numbers: Numbers) -> Call:
        features = numbers.unit(batch, width, leaf=True)
        prototypes = numbers.unit(classes, width, leaf=True)
        memory = numbers.unit(size, width)
        memory[size // 2] = 0  # unvisited
        options = {"temperature": temperature, "variant": variant}
        args = (features, prototypes, memory, numbers.rows(size, batch))
        return Call(args, options, (features, prototypes))

    return build


def memory(batch: int, size: int, width: int, momentum: float) -> Callable[[Numbers], Call]:
    """A memory and distinct rows to move."""

    def build(numbers: Numbers) -> Call:
        memory, features = numbers.unit(size, width), numbers.unit(batch, width)
        args = (memory, features, numbers.rows(size, batch))
        return Call(args, {"momentum": momentum}, changed=(memory,))

    return build


def separation(batch: int, classes: int, margin: float) -> Callable[[Numbers], Call]:
    """Class logits."""

    def build(numbers: Numbers) -> Call:
        logits = numbers.normal(batch, classes, scale=3.0, leaf=True)
        return Call((logits,), {"rho": 0.5 * float(np.log(classes)), "margin": margin}, (logits,))

    return build


def lookup(
    lead: tuple[int, ...],
    codes: int,
    width: int,
    metric: str = "euclidean",
    *,
    masked: bool = False,
    ties: bool = False,
) -> Callable[[Numbers], Call]:
    """Rows and codes; `ties` doubles every code, masked rows are NaN."""

    def build(numbers: Numbers) -> Call:
        x, codebook = numbers.normal(*lead, width), numbers.normal(codes, width)
        if ties:
            codebook = torch.cat([codebook, codebook.flip(0)])
        options: dict[str, Any] = {"metric": metric}
        if masked:
            options["mask"] = numbers.whole(0, 2, *lead).bool()
            x = torch.where(options["mask"][..., None], x, torch.nan)
        return Call((x, codebook), options)

    return build


def update(
    count: int, codes: int, width: int, *, masked: bool = False
) -> Callable[[Numbers], Call]:
    """A codebook and assignments, some of them -1."""

    def build(numbers: Numbers) -> Call:
        state = VQState.from_codebook(numbers.normal(codes, width))
        indices = numbers.whole(-1, codes, count)
        options: dict[str, Any] = {"decay": 0.9}
        if masked:
            options["mask"] = numbers.whole(0, 2, count).bool()
        changed = (state.codebook, state.count, state.total)
        return Call((state, numbers.normal(count, width), indices), options, changed=changed)

    return build
