"""Does it pay to exchange gradients during the backward pass? Ours after it against DDP's.

    python -m torch.distributed.run --standalone --nproc-per-node 2 benchmarks/systems/overlap.py
        [--steps 20] [--machine NAME]

Transformer blocks of two widths on gloo, one thread a process. A step is forward, backward and the
sum of all gradients, interleaved: ``after`` is backward, then the sums of ``fit``; ``during`` is
``DistributedDataParallel``, which sends buckets of 25 MB while it goes on. A row has the medians,
the median ratio of both in one round, and the share of ``after`` that the exchange takes: no way
of overlapping can save more than that.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from statistics import median
from time import perf_counter

import torch
from torch import distributed as dist
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1]))
from recording import Recorder

from fastbrain.nn.blocks import Block
from fastbrain.training.data_parallel import add_gradients
from fastbrain.training.processes import together

# width, blocks, windows of a process, tokens
SIZES = {"small": (128, 2, 16, 64), "wide": (768, 4, 4, 64)}


def main() -> None:
    """Time both ways in all processes; the first writes the rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--machine", help="folder below benchmarks/results; default: only print")
    args = parser.parse_args()
    torch.set_num_threads(1)
    with together("overlap") as team:
        record = Recorder(args.machine).row if team.first else None
        for name, (dim, depth, windows, tokens) in SIZES.items():
            torch.manual_seed(0)
            plain = nn.Sequential(*(Block(dim, dim // 64) for _ in range(depth)))
            torch.manual_seed(0)
            twin = nn.Sequential(*(Block(dim, dim // 64) for _ in range(depth)))
            wrapped = nn.parallel.DistributedDataParallel(twin)
            x = torch.randn(windows, tokens, dim)
            named = list(plain.named_parameters())
            times: dict[str, list[float]] = {"after": [], "during": [], "exchange": []}
            for _ in range(args.steps + 2):
                for way, model in (("after", plain), ("during", wrapped)):
                    model.zero_grad(set_to_none=True)
                    dist.barrier()
                    start = perf_counter()
                    model(x).square().mean().backward()
                    if way == "after":
                        middle = perf_counter()
                        add_gradients(named)
                        times["exchange"].append(perf_counter() - middle)
                    times[way].append(perf_counter() - start)
            times = {way: found[2:] for way, found in times.items()}
            if record is None:
                continue
            both = zip(times["after"], times["during"], strict=True)
            record(
                op="overlap",
                case=name,
                parameters=sum(p.numel() for _, p in named),
                after_ms=1e3 * median(times["after"]),
                during_ms=1e3 * median(times["during"]),
                ratio=median(a / d for a, d in both),
                exchange_share=median(times["exchange"]) / median(times["after"]),
            )


if __name__ == "__main__":
    main()
