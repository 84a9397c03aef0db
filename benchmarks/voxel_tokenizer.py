"""Voxel tokenizer on the CPU against what one would write in plain torch.

    python benchmarks/voxel_tokenizer.py [--machine NAME] [--cases big single ...] [--compile]

Rows are printed, and kept under ``benchmarks/results/NAME`` where a machine is named. Every
provider is checked against the float64 truth before it is timed.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from _timing import Recorder, interleaved, ratio
from torch import Tensor

from fastbrain.ops import TokenGrid, tokenize_voxels


@dataclass(frozen=True)
class Shape:
    """One problem: `batch` volumes of `volume` voxels, cubes of `patch`, `features` outputs."""

    volume: tuple[int, int, int]
    batch: int
    patch: int
    features: int
    normalise: bool = False
    backward: bool = False
    rounds: int = 31


CASES = {
    "big": Shape((96, 112, 96), 16, 8, 768, rounds=15),
    "big-normalised": Shape((96, 112, 96), 16, 8, 768, normalise=True, rounds=15),
    "big-backward": Shape((96, 112, 96), 16, 8, 768, backward=True, rounds=9),
    "single": Shape((96, 112, 96), 1, 8, 768),
    "single-normalised": Shape((96, 112, 96), 1, 8, 768, normalise=True),
    "native": Shape((64, 64, 40), 1, 8, 768),
    "fine": Shape((96, 112, 96), 1, 4, 256),
    "coarse": Shape((96, 112, 96), 1, 16, 1024),
}


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


class Problem:
    """Inputs of one shape and the providers that solve it."""

    def __init__(self, shape: Shape) -> None:
        generator = torch.Generator().manual_seed(0)
        mask, self.mask_name = brain_mask(shape.volume)
        p = shape.patch
        self.shape = shape
        self.grid = TokenGrid.from_mask(mask, (p, p, p))
        size = (shape.batch, 1, *shape.volume)
        brain = torch.from_numpy(mask)
        # what a masked preprocessing leaves: zero outside the brain
        self.volumes = torch.randint(-3000, 3000, size, generator=generator).to(torch.int16) * brain
        self.packed = torch.from_numpy(self.grid.pack(self.volumes.numpy()))
        self.weight = torch.randn(shape.features, 1, p, p, p, generator=generator) * 0.01
        self.bias = torch.randn(shape.features, generator=generator)
        self.statistics: tuple[Tensor, Tensor] | None = None
        if shape.normalise:
            # zero outside the mask, so that dense providers need no extra pass for it
            mean, std = (torch.rand(shape.volume, generator=generator) + 0.5 for _ in range(2))
            self.statistics = mean * brain, std.reciprocal() * brain
        if shape.backward:
            self.weight.requires_grad_()
            self.bias.requires_grad_()
        self.lattice = [n // p for n in shape.volume]
        coords = torch.from_numpy(self.grid.coords)
        self.sites = coords.unbind(1)
        self.low = coords.min(0).values.tolist()
        self.high = (coords.max(0).values + 1).tolist()
        self.box = tuple(slice(a * p, b * p) for a, b in zip(self.low, self.high, strict=True))

    def _cubes(self, volumes: Tensor) -> Tensor:
        """View (..., Z, Y, X) as (..., nz, ny, nx, p, p, p), without a copy."""
        p = self.shape.patch
        z, y, x = (n // p for n in volumes.shape[-3:])
        lead = volumes.shape[:-3]
        cubes = volumes.reshape(*lead, z, p, y, p, x, p)
        n = len(lead)
        return cubes.permute(*range(n), n, n + 2, n + 4, n + 1, n + 3, n + 5)

    def _normal(self, values: Tensor, pick: Callable[[Tensor], Tensor]) -> Tensor:
        values = values.float()
        if self.statistics is None:
            return values
        return (values - pick(self.statistics[0])) * pick(self.statistics[1])

    def conv3d(self) -> Tensor:
        values = self._normal(self.volumes, lambda t: t)
        return F.conv3d(values, self.weight, self.bias, stride=self.shape.patch)

    def crop_linear(self) -> Tensor:
        values = self._normal(self.volumes[(..., *self.box)], lambda t: t[self.box])
        rows = self._cubes(values[:, 0]).flatten(1, 3).flatten(2)
        return F.linear(rows, self.weight.flatten(1), self.bias)

    def gather_linear(self) -> Tensor:
        z, y, x = self.sites
        rows = self._cubes(self.volumes[:, 0])[:, z, y, x]
        values = self._normal(rows, lambda t: self._cubes(t)[z, y, x])
        return F.linear(values.flatten(2), self.weight.flatten(1), self.bias)

    def _fastbrain(self, volumes: Tensor) -> Tensor:
        mean, inv_std = self.statistics or (None, None)
        return tokenize_voxels(
            volumes,
            self.weight,
            self.bias,
            grid=self.grid,
            mean=mean,
            inv_std=inv_std,
            backend="cpu",
        )

    def fastbrain(self) -> Tensor:
        return self._fastbrain(self.volumes)

    def fastbrain_store(self) -> Tensor:
        return self._fastbrain(self.packed)

    def bare_gemm(self) -> Callable[[], Tensor]:
        """The matrix product alone, on patches already gathered: a ceiling, not a provider."""
        rows = torch.randn(self.shape.batch * self.grid.n_tokens, self.grid.patch_voxels)
        weight, bias = self.weight.detach().flatten(1), self.bias.detach()
        return lambda: F.linear(rows, weight, bias)

    def kept(self, name: str, out: Tensor) -> Tensor:
        """The kept tokens of a provider's output, in the order of the grid."""
        z, y, x = self.sites
        if name == "conv3d":
            return out[:, :, z, y, x].transpose(1, 2)
        if name == "crop_linear":
            box = [b - a for a, b in zip(self.low, self.high, strict=True)]
            dense = out.unflatten(1, box)
            return dense[:, z - self.low[0], y - self.low[1], x - self.low[2]]
        return out

    def providers(self, *, compiled: bool) -> dict[str, Callable[[], Tensor]]:
        """Every way to solve the problem, ours first."""
        ways = {
            "fastbrain": self.fastbrain,
            "fastbrain_store": self.fastbrain_store,
            "conv3d": self.conv3d,
            "crop_linear": self.crop_linear,
            "gather_linear": self.gather_linear,
        }
        if compiled:
            ways["gather_linear_compiled"] = torch.compile(self.gather_linear)
        return ways

    def verify(self, ways: dict[str, Callable[[], Tensor]]) -> None:
        """Refuse to time a provider that is wrong."""
        mean, inv_std = self.statistics or (None, None)
        truth = tokenize_voxels(
            self.volumes[:1],
            self.weight.detach().double(),
            self.bias.detach().double(),
            grid=self.grid,
            mean=mean,
            inv_std=inv_std,
        )
        for name, way in ways.items():
            error = (self.kept(name, way().detach())[:1].double() - truth).norm() / truth.norm()
            if not error < 1e-5:
                raise SystemExit(f"{name} is wrong by {float(error):.2g}: nothing was timed")

    def timed(self, way: Callable[[], Tensor]) -> Callable[[], object]:
        """The forward pass, or forward and backward into the weight."""
        if not self.shape.backward:
            return way
        upstream = torch.randn_like(way().detach())
        return lambda: torch.autograd.grad(way(), (self.weight, self.bias), upstream)


def run(name: str, recorder: Recorder, *, compiled: bool, rounds: int | None) -> None:
    """Time all providers of one case and record a row for each."""
    shape = CASES[name]
    problem = Problem(shape)
    ways = problem.providers(compiled=compiled)
    problem.verify(ways)
    functions = {key: problem.timed(way) for key, way in ways.items()}
    if not shape.backward:
        functions["bare_gemm"] = problem.bare_gemm()
    seconds = interleaved(functions, rounds=rounds or shape.rounds)
    tokens = shape.batch * problem.grid.n_tokens
    flops = 2.0 * tokens * problem.grid.patch_voxels * shape.features * (1 + shape.backward)
    for provider, times in seconds.items():
        quantiles = np.quantile(times, [0.2, 0.5, 0.8]) * 1e3
        times_ours, low, high = ratio(times, seconds["fastbrain"])
        recorder.row(
            op="tokenize_voxels",
            case=name,
            provider=provider,
            volume=list(shape.volume),
            batch=shape.batch,
            patch=shape.patch,
            features=shape.features,
            normalise=shape.normalise,
            backward=shape.backward,
            mask=problem.mask_name,
            kept=round(problem.grid.n_tokens / int(np.prod(problem.lattice)), 3),
            ms_p20=float(quantiles[0]),
            ms_p50=float(quantiles[1]),
            ms_p80=float(quantiles[2]),
            rounds=len(times),
            gflops=float(flops / quantiles[1] / 1e6),
            ratio_to_fastbrain=times_ours,
            ratio_low=low,
            ratio_high=high,
        )


def main() -> None:
    """Parse the command line and run the cases."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--machine", help="folder below benchmarks/results; default: print only")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, help="default: 9 to 31, by the size of the case")
    parser.add_argument("--compile", action="store_true", help="also time a compiled baseline")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    recorder = Recorder(arguments.machine)
    for name in arguments.cases:
        with torch.set_grad_enabled(CASES[name].backward):
            run(name, recorder, compiled=arguments.compile, rounds=arguments.rounds)


if __name__ == "__main__":
    main()
