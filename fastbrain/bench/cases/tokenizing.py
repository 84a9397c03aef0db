"""Ways to turn volumes into tokens: ours, and what one would write in plain torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from ... import TokenGrid
from ...ops import tokenize_voxels
from ..registry import Setting


@dataclass(frozen=True)
class Shape:
    """`batch` volumes of `volume` voxels, cubes of `patch`, `features` outputs."""

    volume: tuple[int, int, int]
    batch: int
    patch: int
    features: int
    normalise: bool = False
    backward: bool = False


def brain_mask(shape: tuple[int, int, int]) -> tuple[npt.NDArray[np.bool_], str]:
    """MNI152 brain mask at nearest voxels of `shape`, or an ellipsoid without nilearn."""
    try:
        from nilearn.datasets import load_mni152_brain_mask
    except ImportError:
        axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
        radii = zip(axes, (0.7, 0.8, 0.65), strict=True)
        squares = [(axis / radius) ** 2 for axis, radius in radii]
        return np.sum(squares, axis=0) < 1, "ellipsoid"
    mask = np.asarray(load_mni152_brain_mask(resolution=2).dataobj).astype(bool).transpose(2, 1, 0)
    nearest = [np.arange(n) * m // n for n, m in zip(shape, mask.shape, strict=True)]
    return mask[np.ix_(*nearest)], "MNI152"


def packed(volumes: Tensor, grid: TokenGrid) -> Tensor:
    """What ``TokenGrid.pack`` gives, made where the volumes are."""
    offsets = torch.from_numpy(grid.offsets).to(volumes.device)
    values = volumes.flatten(-3)[..., offsets.clamp_min(0)]
    return values.mul_((offsets >= 0).to(values.dtype))


class Tokenizing:
    """Inputs of one shape and the ways to tokenize them."""

    def __init__(self, shape: Shape, setting: Setting) -> None:
        at: dict[str, Any] = {"generator": setting.generator(), "device": setting.device}
        mask, self.mask_name = brain_mask(shape.volume)
        p, self.shape, self.dtype = shape.patch, shape, setting.dtype
        self.grid = TokenGrid.from_mask(mask, (p, p, p))
        size = (shape.batch, 1, *shape.volume)
        brain = torch.from_numpy(mask).to(setting.device)
        # what a masked preprocessing leaves: zero outside the brain
        self.volumes = torch.randint(-3000, 3000, size, dtype=torch.int16, **at).mul_(brain)
        self.packed = packed(self.volumes, self.grid)
        weight = torch.randn(shape.features, 1, p, p, p, **at) * 0.01
        bias = torch.randn(shape.features, **at)
        self.weight, self.bias = weight.to(setting.dtype), bias.to(setting.dtype)
        self.statistics: tuple[Tensor, Tensor] | None = None
        if shape.normalise:
            # zero outside the mask, so that dense providers need no extra pass for it
            mean, std = (torch.rand(shape.volume, **at) + 0.5 for _ in range(2))
            self.statistics = mean * brain, std.reciprocal() * brain
        if shape.backward:
            self.weight.requires_grad_()
            self.bias.requires_grad_()
        self.packed_statistics: Any = self.statistics and tuple(
            packed(t, self.grid) for t in self.statistics
        )
        coords = torch.from_numpy(self.grid.coords)
        self.sites = coords.to(setting.device).unbind(1)
        self.low = coords.min(0).values.tolist()
        self.high = (coords.max(0).values + 1).tolist()
        self.box: Any = tuple(slice(a * p, b * p) for a, b in zip(self.low, self.high, strict=True))
        self.options: dict[str, Any] = {"grid": self.grid, "mean": None, "inv_std": None}
        if self.statistics is not None:
            self.options |= {"mean": self.statistics[0], "inv_std": self.statistics[1]}

    def _cubes(self, volumes: Tensor) -> Tensor:
        """View (..., Z, Y, X) as (..., nz, ny, nx, p, p, p), without a copy."""
        p = self.shape.patch
        z, y, x = (n // p for n in volumes.shape[-3:])
        lead = volumes.shape[:-3]
        trimmed = volumes[..., : z * p, : y * p, : x * p]
        cubes = trimmed.unflatten(-1, (x, p)).unflatten(-3, (y, p)).unflatten(-5, (z, p))
        n = len(lead)
        return cubes.permute(*range(n), n, n + 2, n + 4, n + 1, n + 3, n + 5)

    def _normal(self, values: Tensor, pick: Callable[[Tensor], Tensor]) -> Tensor:
        if self.statistics is None:
            return values.to(self.dtype)
        mean, inv_std = (pick(t) for t in self.statistics)
        return ((values.float() - mean) * inv_std).to(self.dtype)

    def conv3d(self, volumes: Tensor | None = None, *, channels_last: bool = False) -> Tensor:
        """The module people write."""
        values = self._normal(self.volumes if volumes is None else volumes, lambda t: t)
        weight = self.weight
        if channels_last:
            form = torch.channels_last_3d
            values, weight = values.to(memory_format=form), weight.to(memory_format=form)
        return F.conv3d(values, weight, self.bias, stride=self.shape.patch)

    def on_gpu(self) -> dict[str, Callable[[], Tensor]]:
        """What only a GPU tells apart: another layout of memory, and volumes still on the host."""
        pinned = self.volumes.cpu().pin_memory()

        def arrived() -> Tensor:
            return pinned.to(self.volumes.device, non_blocking=True)

        return {
            "conv3d_channels_last": lambda: self.conv3d(channels_last=True),
            "conv3d_from_host": lambda: self.conv3d(arrived()),
            "fastbrain_from_host": lambda: self.fastbrain(arrived(), None),
        }

    def crop_linear(self) -> Tensor:
        """The brain's bounding box as patches, then a matrix product."""
        values = self._normal(self.volumes[(..., *self.box)], lambda t: t[self.box])
        rows = self._cubes(values[:, 0]).flatten(1, 3).flatten(2)
        return F.linear(rows, self.weight.flatten(1), self.bias)

    def gather_linear(self) -> Tensor:
        """The kept patches alone, then a matrix product: the strongest of the three."""
        z, y, x = self.sites
        rows = self._cubes(self.volumes[:, 0])[:, z, y, x]
        values = self._normal(rows, lambda t: self._cubes(t)[z, y, x])
        return F.linear(values.flatten(2), self.weight.flatten(1), self.bias)

    def store_linear(self) -> Tensor:
        """What the store holds, normalised, then a matrix product: nothing is gathered."""
        values = self.packed[:, 0]
        if self.packed_statistics is not None:
            mean, inv_std = self.packed_statistics
            values = (values.float() - mean) * inv_std
        return F.linear(values.to(self.dtype), self.weight.flatten(1), self.bias)

    def fastbrain(self, volumes: Tensor, backend: str | None) -> Tensor:
        """Ours, from volumes."""
        return tokenize_voxels(volumes, self.weight, self.bias, **self.options, backend=backend)

    def fastbrain_store(self) -> Tensor:
        """Ours, from what the store holds."""
        mean, inv_std = self.packed_statistics or (None, None)
        return tokenize_voxels(
            self.packed, self.weight, self.bias, grid=self.grid, mean=mean, inv_std=inv_std
        )

    def kept(self, name: str, out: Tensor) -> Tensor:
        """The kept tokens of a provider's output, in the order of the grid."""
        z, y, x = self.sites
        if name.startswith("conv3d"):
            return out[:, :, z, y, x].transpose(1, 2)
        if name == "crop_linear":
            box = [b - a for a, b in zip(self.low, self.high, strict=True)]
            dense = out.unflatten(1, box)
            return dense[:, z - self.low[0], y - self.low[1], x - self.low[2]]
        return out

    def placed(self, name: str, upstream: Tensor, like: Tensor) -> Tensor:
        """A gradient of the kept tokens where a provider's output has them; zero elsewhere."""
        z, y, x = self.sites
        out = torch.zeros_like(like)
        if name.startswith("conv3d"):
            out[:, :, z, y, x] = upstream.transpose(1, 2)
        elif name == "crop_linear":
            box = [b - a for a, b in zip(self.low, self.high, strict=True)]
            dense = out.view(len(out), *box, out.shape[-1])
            dense[:, z - self.low[0], y - self.low[1], x - self.low[2]] = upstream
        else:
            out.copy_(upstream)
        return out

    def differentiated(
        self, name: str, solve: Callable[[], Tensor], upstream: Tensor
    ) -> Callable[[], tuple[Tensor, ...]]:
        """The answer, and with it the gradients of weight and bias where they are asked for."""
        if not self.shape.backward:
            # the decorator once: it takes as long as a small layer
            quiet = torch.no_grad()(solve)
            return lambda: (quiet(),)
        own: list[Tensor] = []

        def step() -> tuple[Tensor, ...]:
            out = solve()
            if not own:
                own.append(self.placed(name, upstream, out.detach()))
            return out, *torch.autograd.grad(out, (self.weight, self.bias), own[0])

        return step

    def truth(self, upstream: Tensor) -> tuple[Tensor, ...]:
        """In float64: the tokens of the first window and, if asked for, the gradients of all."""
        double = [p.detach().double() for p in (self.weight, self.bias)]
        if not self.shape.backward:
            first = self.volumes[:1]
            return (tokenize_voxels(first, *double, **self.options, backend="reference"),)
        for parameter in double:
            parameter.requires_grad_()
        out = tokenize_voxels(self.volumes, *double, **self.options, backend="reference")
        gradients = torch.autograd.grad(out, double, upstream.double())
        return out[:1].detach(), *gradients
