"""Timing on a machine that does other work: interleaved rounds, and calls from a cold cache."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from pathlib import Path
from time import perf_counter, time

import torch

from .._arguments import checked

Clock = Callable[[Callable[[], object]], float]
# what is emptied before a cold call if the size of the last-level cache is unknown, and at most
_UNKNOWN_CACHE, _MOST_FLUSHED = 64 << 20, 256 << 20


def cpu_clock(function: Callable[[], object]) -> float:
    """Seconds of one call."""
    start = perf_counter()
    function()
    return perf_counter() - start


def last_cache_bytes() -> int:
    """Bytes of the last-level cache of the first core."""
    sizes = []
    for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        text = path.read_text().strip()
        unit = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}.get(text[-1:], 1)
        if text.rstrip("KMG").isdecimal():
            sizes.append(int(text.rstrip("KMG")) * unit)
    return max(sizes, default=_UNKNOWN_CACHE)


class ColdCpuClock:
    """Seconds of one call on the CPU, after twice the last-level cache was written elsewhere."""

    def __init__(self) -> None:
        self._flush = torch.empty(min(2 * last_cache_bytes(), _MOST_FLUSHED), dtype=torch.uint8)

    def __call__(self, function: Callable[[], object]) -> float:
        """Empty the cache and time one call."""
        self._flush.add_(1)
        return cpu_clock(function)


@checked
class GpuClock:
    """Seconds between two events around a call; `cold` empties the second-level cache before."""

    def __init__(self, device: str, *, cold: bool) -> None:
        self._start, self._end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        # larger than the second-level cache of any GPU
        self._flush = torch.empty(256 << 20, dtype=torch.uint8, device=device) if cold else None

    def __call__(self, function: Callable[[], object]) -> float:
        """Time one call on the device."""
        if self._flush is not None:
            self._flush.zero_()
        self._start.record()
        function()
        self._end.record()
        self._end.synchronize()
        return self._start.elapsed_time(self._end) / 1e3


def interleaved(
    functions: dict[str, Callable[[], object]],
    *,
    rounds: int,
    warmup: int = 2,
    clock: Clock = cpu_clock,
    deadline: float = math.inf,
    watch: Callable[[str], None] = lambda name: None,
    seed: int = 0,
) -> dict[str, list[float]]:
    """Seconds of every function in every round; in each round all run once, in random order.

    A neighbour that takes the machine for a while slows all of them alike. The order is drawn anew
    for each round, so that no function has a fixed place or always runs on what the same other one
    left in the caches.

    Parameters
    ----------
    functions : dict of callable
    rounds, warmup : int
    clock : callable
        Runs a function once and gives its seconds.
    deadline : float
        Seconds since the epoch after which no round begins, once there are three.
    watch : callable
        Hears the name of a function before each call of it.
    seed : int
        Of the orders: the same names with the same seed run in the same orders.

    Returns
    -------
    dict of list of float
        Seconds by name, one for each round.
    """
    for name, function in functions.items():
        for _ in range(warmup):
            watch(name)
            function()
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    names, drawn = list(functions), random.Random(seed)
    for turn in range(rounds):
        if turn >= 3 and time() > deadline:
            break
        for name in drawn.sample(names, len(names)):
            watch(name)
            seconds[name].append(clock(functions[name]))
    return seconds
