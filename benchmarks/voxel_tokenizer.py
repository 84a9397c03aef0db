"""The voxel tokenizer against what one would write in plain torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from registry import Entry, Problem, Setting, compiled, ours, relative
from torch import Tensor

from fastbrain.ops import TokenGrid, tokenize_voxels

LIMITS = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 1e-2}


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
        return sum((axis / radius) ** 2 for axis, radius in radii) < 1, "ellipsoid"
    mask = np.asarray(load_mni152_brain_mask(resolution=2).dataobj).astype(bool).transpose(2, 1, 0)
    nearest = [np.arange(n) * m // n for n, m in zip(shape, mask.shape, strict=True)]
    return mask[np.ix_(*nearest)], "MNI152"


class Tokenizing:
    """Inputs of one shape and the ways to tokenize them."""

    def __init__(self, shape: Shape, setting: Setting) -> None:
        generator = torch.Generator().manual_seed(0)
        mask, self.mask_name = brain_mask(shape.volume)
        p, self.shape, self.dtype = shape.patch, shape, setting.dtype
        self.grid = TokenGrid.from_mask(mask, (p, p, p))
        size = (shape.batch, 1, *shape.volume)
        brain = torch.from_numpy(mask)
        # what a masked preprocessing leaves: zero outside the brain
        volumes = torch.randint(-3000, 3000, size, generator=generator).to(torch.int16) * brain
        self.packed = torch.from_numpy(self.grid.pack(volumes.numpy())).to(setting.device)
        self.volumes = volumes.to(setting.device)
        weight = torch.randn(shape.features, 1, p, p, p, generator=generator) * 0.01
        bias = torch.randn(shape.features, generator=generator)
        self.weight, self.bias = (t.to(setting.device, setting.dtype) for t in (weight, bias))
        self.statistics: tuple[Tensor, Tensor] | None = None
        if shape.normalise:
            # zero outside the mask, so that dense providers need no extra pass for it
            mean, std = (torch.rand(shape.volume, generator=generator) + 0.5 for _ in range(2))
            self.statistics = (
                (mean * brain).to(setting.device),
                (std.reciprocal() * brain).to(setting.device),
            )
        if shape.backward:
            self.weight.requires_grad_()
            self.bias.requires_grad_()
        coords = torch.from_numpy(self.grid.coords)
        self.sites = coords.to(setting.device).unbind(1)
        self.low = coords.min(0).values.tolist()
        self.high = (coords.max(0).values + 1).tolist()
        self.box = tuple(slice(a * p, b * p) for a, b in zip(self.low, self.high, strict=True))
        mean, inv_std = self.statistics or (None, None)
        self.options: dict[str, Any] = {"grid": self.grid, "mean": mean, "inv_std": inv_std}

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

    def fastbrain(self, volumes: Tensor, backend: str | None) -> Tensor:
        """Ours, from volumes or from what the store holds."""
        return tokenize_voxels(volumes, self.weight, self.bias, **self.options, backend=backend)

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

    def differentiated(self, solve: Callable[[], Tensor]) -> Callable[[], Any]:
        """The answer, or with it the gradients of weight and bias."""
        if not self.shape.backward:
            return torch.no_grad()(solve)
        upstream = torch.randn_like(solve().detach())

        def step() -> Tensor:
            out = solve()
            torch.autograd.grad(out, (self.weight, self.bias), upstream)
            return out

        return step


def problem(shape: Shape, setting: Setting) -> Problem:
    """Set one shape up."""
    t = Tokenizing(shape, setting)
    ways: dict[str, Callable[[], Tensor]] = {
        **ours(
            setting,
            lambda backend: t.fastbrain(t.volumes, backend),
            "tokenize_voxels",
            t.volumes,
            t.weight,
            t.bias,
            **t.options,
        ),
        "fastbrain_store": lambda: t.fastbrain(t.packed, None),
        "conv3d": t.conv3d,
        "crop_linear": t.crop_linear,
        "gather_linear": t.gather_linear,
    }
    if setting.compiled:
        ways["gather_linear_compiled"] = compiled(t.gather_linear)
    if setting.on_gpu:
        ways |= t.on_gpu()
    double = (p.detach().double() for p in (t.weight, t.bias))
    truth = tokenize_voxels(t.volumes[:1], *double, **t.options, backend="reference")
    tokens, inner = shape.batch * t.grid.n_tokens, t.grid.patch_voxels
    rows = torch.randn(tokens, inner, device=setting.device, dtype=setting.dtype)
    weight, bias = t.weight.detach().flatten(1), t.bias.detach()
    size = weight.element_size()
    moved = 2 * tokens * inner + size * (weight.numel() + tokens * shape.features)
    return Problem(
        providers={name: t.differentiated(way) for name, way in ways.items()},
        error=lambda name, out: relative(t.kept(name, out)[:1], truth),
        limit=LIMITS[setting.dtype],
        flops=2.0 * tokens * inner * shape.features * (1 + shape.backward),
        traffic=float(moved * (1 + shape.backward)),
        # the matrix product alone, on patches already gathered
        ceilings={} if shape.backward else {"bare_gemm": lambda: F.linear(rows, weight, bias)},
        facts={
            **{"volume": list(shape.volume), "batch": shape.batch, "patch": shape.patch},
            **{"features": shape.features, "normalise": shape.normalise},
            **{"backward": shape.backward, "mask": t.mask_name},
            "kept": round(
                t.grid.n_tokens / int(np.prod([n // shape.patch for n in shape.volume])), 3
            ),
        },
    )


def overlapping(
    volume: tuple[int, int, int], kernel: int, stride: int, features: int, setting: Setting
) -> Problem:
    """Patches that overlap: the framework's convolution of the brain's box, kept sites only."""
    generator = torch.Generator().manual_seed(0)
    mask, mask_name = brain_mask(volume)
    grid = TokenGrid.from_mask(mask, (kernel,) * 3, (stride,) * 3)
    drawn = torch.randint(-3000, 3000, (1, 1, *volume), generator=generator).to(torch.int16)
    volumes = (drawn * torch.from_numpy(mask)).to(setting.device)
    weight = torch.randn(features, 1, *grid.kernel, generator=generator) * 0.01
    weight = weight.to(setting.device, setting.dtype)
    coords = torch.from_numpy(grid.coords)
    low, high = coords.min(0).values, coords.max(0).values
    box = tuple(
        slice(a * stride, b * stride + kernel)
        for a, b in zip(low.tolist(), high.tolist(), strict=True)
    )
    z, y, x = (coords - low).to(setting.device).unbind(1)

    def conv3d() -> Tensor:
        dense = F.conv3d(volumes[(..., *box)].to(setting.dtype), weight, stride=stride)
        return dense[:, :, z, y, x].transpose(1, 2)

    def fastbrain(backend: str | None) -> Tensor:
        return tokenize_voxels(volumes, weight, grid=grid, backend=backend)

    truth = tokenize_voxels(volumes, weight.double(), grid=grid, backend="reference")
    chosen = ours(setting, fastbrain, "tokenize_voxels", volumes, weight, grid=grid)
    ways = {**chosen, "conv3d": conv3d}
    return Problem(
        providers={name: torch.no_grad()(way) for name, way in ways.items()},
        error=lambda _name, out: relative(out, truth),
        limit=LIMITS[setting.dtype],
        flops=2.0 * grid.n_tokens * grid.patch_voxels * features,
        traffic=float(2 * volumes.numel() + weight.element_size() * grid.n_tokens * features),
        facts={
            **{"volume": list(volume), "patch": kernel, "stride": stride},
            **{"features": features, "mask": mask_name, "tokens": grid.n_tokens},
        },
    )


def _overlap(volume: tuple[int, int, int], kernel: int, stride: int, features: int) -> Entry:
    def build(setting: Setting) -> Problem:
        return overlapping(volume, kernel, stride, features, setting)

    return Entry("tokenize_voxels", f"overlap-k{kernel}-s{stride}", build, 15)


def _entry(case: str, shape: Shape, *, rounds: int = 31, gpu_only: bool = False) -> Entry:
    def build(setting: Setting) -> Problem:
        return problem(shape, setting)

    return Entry("tokenize_voxels", case, build, rounds, gpu_only)


PROVIDERS = ("fastbrain", "fastbrain_store", "conv3d", "crop_linear", "gather_linear")

ENTRIES = [
    _entry("big", Shape((96, 112, 96), 16, 8, 768), rounds=15),
    _entry("big-normalised", Shape((96, 112, 96), 16, 8, 768, normalise=True), rounds=15),
    _entry("big-backward", Shape((96, 112, 96), 16, 8, 768, backward=True), rounds=9),
    _entry("single", Shape((96, 112, 96), 1, 8, 768)),
    _entry("single-normalised", Shape((96, 112, 96), 1, 8, 768, normalise=True)),
    _entry("native", Shape((64, 64, 40), 1, 8, 768)),
    _entry("fine", Shape((96, 112, 96), 1, 4, 256)),
    _entry("coarse", Shape((96, 112, 96), 1, 16, 1024)),
    _overlap((64, 64, 40), 4, 2, 128),
    _overlap((64, 64, 40), 8, 4, 256),
    _overlap((64, 64, 40), 16, 8, 512),
    _entry("run", Shape((97, 115, 97), 300, 8, 768), gpu_only=True),
    _entry("run-backward", Shape((97, 115, 97), 64, 8, 768, backward=True), gpu_only=True),
    _entry("run-fine", Shape((97, 115, 97), 64, 4, 256), gpu_only=True),
]
