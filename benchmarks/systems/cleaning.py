"""CPU time of cleaning a run, with and without confounds and censored volumes.

    OMP_NUM_THREADS=1 python benchmarks/systems/cleaning.py [--rounds 9] [--voxels 150000]

The run is synthetic: 156 volumes of int16, all of them brain. Variants are interleaved, and the
printed ratio is the median over rounds of the CPU time of each divided by that of the filter alone.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

import numpy as np

from fastbrain.bench.timing import interleaved
from fastbrain.data.store.detrend import clean_run

VOLUMES, TR_S, HIGH_PASS_S, CONFOUNDS, CENSORED = 156, 2.0, 128.0, 26, 0.05


def main() -> None:
    """Time all variants and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--voxels", type=int, default=150_000)
    given = parser.parse_args()
    rng = np.random.default_rng(0)
    raw = rng.normal(1000, 20, (VOLUMES, 1, 1, given.voxels)).astype(np.int16)
    run: Any = SimpleNamespace(
        path=Path("run"), shape=raw.shape, tr=TR_S, slope=1.0, inter=0.0, dtype=raw.dtype,
        raw=lambda: raw,
    )  # fmt: skip
    voxels = np.arange(given.voxels)
    confounds = rng.normal(size=(VOLUMES, CONFOUNDS))
    censored = rng.random(VOLUMES) < CENSORED
    variants: dict[str, dict[str, Any]] = {
        "filter alone": {},
        f"{CONFOUNDS} confounds": {"confounds": confounds},
        "and 5 % censored, interpolated": {"confounds": confounds, "censored": censored},
        "and 5 % censored, kept": {
            "confounds": confounds, "censored": censored, "censor": "keep",
        },
    }  # fmt: skip

    def clock(call: Callable[[], object]) -> float:
        begin = time.process_time()
        call()
        return time.process_time() - begin

    clean = partial(clean_run, run, voxels, units="psc", high_pass_s=HIGH_PASS_S)
    ways = {name: partial(clean, **options) for name, options in variants.items()}
    seconds = interleaved(ways, rounds=given.rounds, warmup=1, clock=clock)
    for name, own in seconds.items():
        ratio = median(t / f for t, f in zip(own, seconds["filter alone"], strict=True))
        print(f"{name:<32} {1e3 * median(own):7.1f} ms CPU  {ratio:5.2f}x")


if __name__ == "__main__":
    main()
