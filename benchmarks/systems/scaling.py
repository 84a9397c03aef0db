"""How time grows with the mask, the pool and the codebook: a row for each size and provider.

    python benchmarks/systems/scaling.py [--curves mask pool codes] [--threads N] [--machine NAME]

``mask``: tokens of 16 volumes of 96 x 112 x 96 voxels from the packed store and from volumes, by
the share of the box that the mask keeps. ``pool``: a step of neighborhood clustering of 64 features
of width 256, by the rows of the memory. ``codes``: the nearest of K codes for 4,096 vectors of
width 64, packed once. The rival is the fastest line of plain PyTorch that is known. Rounds are
interleaved; in ``pool`` and ``codes`` a provider that is wrong is not timed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).parents[1]))
from recording import Recorder

from fastbrain import TokenGrid
from fastbrain.bench.cases import neighborhood, vq
from fastbrain.bench.registry import Setting
from fastbrain.bench.statistics import ratio
from fastbrain.bench.timing import interleaved
from fastbrain.ops import tokenize_voxels

SHARES = (0.1, 0.25, 0.5, 0.75, 1.0)
POOLS = (1_000, 10_000, 100_000, 1_000_000)
CODES = (512, 2_048, 8_192, 32_768, 65_536)
VOLUME, PATCH, WIDTH, BATCH = (96, 112, 96), 8, 768, 16
Ways = dict[str, Callable[[], Any]]


def masks() -> Iterator[tuple[float, Ways]]:
    """Ellipsoids that keep a share of the box; voxels outside are zero."""
    axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in VOLUME), indexing="ij")
    radius = sum(axis**2 for axis in axes)
    draw = torch.Generator().manual_seed(0)
    weight = 0.01 * torch.randn(WIDTH, 1, *(PATCH,) * 3, generator=draw)
    bias = torch.randn(WIDTH, generator=draw)
    for share in SHARES:
        mask = radius <= np.quantile(radius, share)
        grid = TokenGrid.from_mask(mask, (PATCH,) * 3)
        volumes = torch.randint(-3000, 3000, (BATCH, 1, *VOLUME), dtype=torch.int16, generator=draw)
        volumes *= torch.from_numpy(mask)
        packed = torch.from_numpy(grid.pack(volumes.numpy()))

        def linear(packed: torch.Tensor = packed) -> torch.Tensor:
            return F.linear(packed[:, 0].float(), weight.flatten(1), bias)

        yield (
            share,
            {
                "fastbrain": lambda p=packed, g=grid: tokenize_voxels(p, weight, bias, grid=g),
                "fastbrain_volume": lambda v=volumes, g=grid: tokenize_voxels(
                    v, weight, bias, grid=g
                ),
                "store_linear": linear,
                "conv3d": lambda v=volumes: F.conv3d(v.float(), weight, bias, stride=PATCH),
            },
        )


def pools() -> Iterator[tuple[int, Ways]]:
    """Memories of growing size, forward and backward."""
    for size in POOLS:
        made = neighborhood.problem(64, size, 256, 180, "paper", Setting())
        yield size, right(made, ("fastbrain", "eager"))


def codebooks() -> Iterator[tuple[int, Ways]]:
    """Codebooks of growing size."""
    for size in CODES:
        yield size, right(vq.problem(4_096, size, 64, Setting()), ("fastbrain", "addmm_argmin"))


def right(problem: Any, names: tuple[str, ...]) -> Ways:
    """Providers whose answer is near the truth."""
    ways = {name: problem.providers[name] for name in names}
    return {name: way for name, way in ways.items() if problem.error(name, way()) <= problem.limit}


CURVES = {"mask": masks, "pool": pools, "codes": codebooks}


def scaling_table(rows: list[dict[str, Any]]) -> str:
    """Newest time of each provider in ms, a line for each size of a curve."""
    newest = {(r["case"], r["size"], r["provider"]): r["ms_p50"] for r in rows}
    lines = ["| curve | size | ours | others |", "|---|---|---|---|"]
    for curve, size in dict.fromkeys(key[:2] for key in newest):
        own, others = (
            ", ".join(
                f"{name} {ms:.3g}"
                for (*place, name), ms in newest.items()
                if tuple(place) == (curve, size) and name.startswith("fastbrain") == ours
            )
            for ours in (True, False)
        )
        lines.append(f"| {curve} | {size:,} | {own} | {others} |")
    return "\n".join(lines)


def main() -> None:
    """Measure every size of every curve that was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--curves", nargs="+", choices=CURVES, default=list(CURVES))
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--machine", help="folder below benchmarks/results; default: print only")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    record = Recorder(args.machine).row
    for curve in args.curves:
        for size, ways in CURVES[curve]():
            seconds = interleaved(ways, rounds=args.rounds, warmup=1)
            for name, each in seconds.items():
                slower = {}
                if name != "fastbrain":
                    value, low, high = ratio(each, seconds["fastbrain"])
                    slower = {"ratio_to_fastbrain": value, "ratio_low": low, "ratio_high": high}
                fields = {"op": "scaling", "case": curve, "size": size, "provider": name}
                record(**fields, ms_p50=1e3 * median(each), rounds=len(each), **slower)


if __name__ == "__main__":
    main()
