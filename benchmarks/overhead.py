"""What a public op adds to its kernel for a small problem with plainly right arguments.

    python benchmarks/overhead.py [--threads 1] [--machine NAME]

For each op it times the bare binding, with addresses taken before and memory for the result there,
and the public function, in turn: medians of many rounds in microseconds. Their difference is the
time of the checks, the choice of a backend, the allocation of the result and Python between them.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from statistics import median
from time import perf_counter

import numpy as np
import torch
from recording import Recorder
from torch import Tensor
from torch.nn import functional as F

from fastbrain import _native, ops
from fastbrain.bench import bare
from fastbrain.bench.timing import cpu_clock, interleaved
from fastbrain.grid import TokenGrid

# bare binding and public function of one problem
Pair = tuple[Callable[[], object], Callable[[], object]]
_ROUND_S = 2e-4


def lora_linear(rows: int, width: int, rank: int, dtype: torch.dtype) -> Pair:
    """A square layer with an adapter."""

    def drawn(*shape: int) -> Tensor:
        return (torch.randn(*shape) * shape[-1] ** -0.5).to(dtype)

    x, weight, bias = drawn(rows, width), drawn(width, width), drawn(width)
    a, b = drawn(rank, width), drawn(width, rank)
    return (
        bare.lora_linear(x, weight, bias, a, b, None),
        lambda: ops.lora_linear(x, weight, bias, a, b),
    )


def vq_lookup(rows: int, codes: int, width: int) -> Pair:
    """Rows in a packed codebook."""
    x, codebook = torch.randn(rows, width), torch.randn(codes, width)
    packed = ops.pack_codebook(codebook)
    return bare.vq_lookup(x, packed), lambda: ops.vq_lookup(x, packed)


def tokenize_voxels(side: int, features: int) -> Pair:
    """One volume, normalised, in patches of eight voxels."""
    grid = TokenGrid.from_mask(np.ones((side,) * 3, bool), kernel=(2, 2, 2), stride=(2, 2, 2))
    volume = torch.randint(-99, 99, (1, 1, side, side, side), dtype=torch.int16)
    weight, bias = torch.randn(features, 1, 2, 2, 2), torch.randn(features)
    mean, inv_std = torch.randn(grid.shape), torch.ones(grid.shape)
    options = {"grid": grid, "mean": mean, "inv_std": inv_std}
    return (
        bare.tokenize_voxels(volume, weight, bias, **options),
        lambda: ops.tokenize_voxels(volume, weight, bias, **options),
    )


def neighborhood_clustering(batch: int, size: int, width: int, threads: int) -> Pair:
    """A few samples against a small memory, as DANCE weighs them."""
    features, prototypes, memory = (
        F.normalize(torch.randn(rows, width)) for rows in (batch, 4, size)
    )
    indices, others = torch.arange(batch), torch.cat([prototypes, features])
    out = torch.empty(())
    read = [t.data_ptr() for t in (features, memory, indices, others, out)]
    sizes = (batch, width, size, width, len(others))
    arguments = (*read[:2], 0, *read[2:4], 4, sizes, 20.0, 1e-5, read[4], 0, 0, threads)
    options = {"temperature": 0.05, "variant": "dance"}
    return (
        lambda: (_native.neighborhood_entropy(*arguments), out),
        lambda: ops.neighborhood_clustering(features, prototypes, memory, indices, **options),
    )


def cases(threads: int) -> dict[tuple[str, str, str], Pair]:
    """The problems by op, case and dtype."""
    found: dict[tuple[str, str, str], Pair] = {}
    for dtype in (torch.float32, torch.bfloat16):
        for width in (64, 256, 768):
            key = ("lora_linear", f"M1-{width}x{width}-r8", str(dtype).removeprefix("torch."))
            found[key] = lora_linear(1, width, 8, dtype)
    found["vq_lookup", "1x64x16-packed", "float32"] = vq_lookup(1, 64, 16)
    found["vq_lookup", "4x256x64-packed", "float32"] = vq_lookup(4, 256, 64)
    found["tokenize_voxels", "4x4x4-p2-D8", "float32"] = tokenize_voxels(4, 8)
    found["neighborhood_clustering", "B8-N128-D64-dance", "float32"] = neighborhood_clustering(
        8, 128, 64, threads
    )
    return found


def repeated(call: Callable[[], object], seconds: float) -> tuple[Callable[[], None], int]:
    """Return a function that calls as often as fits into a round, and how often that is."""
    for _ in range(20):
        call()
    count = max(1, int(seconds / max(min(cpu_clock(call) for _ in range(20)), 1e-7)))

    def run() -> None:
        for _ in range(count):
            call()

    return run, count


def main() -> None:
    """Time every op, print and record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--machine", help="folder below benchmarks/results; default: only print")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--seconds", type=float, default=2.0, help="for each op")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    recorder = Recorder(arguments.machine)
    for (op, case, dtype), (kernel, public) in cases(arguments.threads).items():
        runs = {"bare": repeated(kernel, _ROUND_S), "public": repeated(public, _ROUND_S)}
        start = perf_counter()
        for run, _ in runs.values():
            run()
        rounds = max(5, int(arguments.seconds / (perf_counter() - start)))
        seconds = interleaved({name: run for name, (run, _) in runs.items()}, rounds=rounds)
        us = {name: median(seconds[name]) / count * 1e6 for name, (_, count) in runs.items()}
        recorder.row(
            op=f"overhead_{op}",
            case=case,
            dtype=dtype,
            rounds=rounds,
            us_bare=us["bare"],
            us_public=us["public"],
            us_overhead=us["public"] - us["bare"],
        )


if __name__ == "__main__":
    main()
