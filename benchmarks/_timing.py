"""Fair timing on a noisy machine: rounds A/B/A/B, medians, ratios with a bootstrap interval."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Callable, Iterable
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from rows import RESULTS

from fastbrain import __version__, _native


def cpu_name() -> str:
    """Model name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def commit() -> str:
    """Commit of the working tree, with a plus where it has changes, or 'unknown'."""
    here = Path(__file__).parent

    def git(*arguments: str) -> str | None:
        ran = subprocess.run(["git", *arguments], cwd=here, capture_output=True, text=True)
        return ran.stdout.strip() if ran.returncode == 0 else None

    name = git("rev-parse", "--short", "HEAD")
    return "unknown" if name is None else name + ("+" if git("status", "--porcelain") else "")


def environment(device: str = "cpu") -> dict[str, Any]:
    """What a number depends on, and is recorded beside it."""
    facts = {
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "isa": _native.isa(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "fastbrain": __version__,
        "commit": commit(),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
    if device.startswith("cuda"):
        facts |= {
            "gpu": torch.cuda.get_device_name(device),
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
            "triton": version("triton"),
            "tf32": torch.backends.cuda.matmul.allow_tf32,
        }
    return facts


def gpu_state() -> dict[str, Any]:
    """Clock, power and temperature of the GPU now; a row of a throttled GPU shows that it was."""
    fields = {"sm_mhz": "clocks.sm", "watts": "power.draw", "celsius": "temperature.gpu"}
    command = ["nvidia-smi", f"--query-gpu={','.join(fields.values())}"]
    try:
        ran = subprocess.run(
            [*command, "--format=csv,noheader,nounits"], capture_output=True, text=True, timeout=10
        )
        values = [float(v) for v in ran.stdout.splitlines()[0].split(",")]
    except (OSError, subprocess.TimeoutExpired, ValueError, IndexError):
        return {}
    return dict(zip(fields, values, strict=True))


def cpu_clock(function: Callable[[], object]) -> float:
    """Seconds of one call."""
    start = perf_counter()
    function()
    return perf_counter() - start


class GpuClock:
    """Seconds between two events around a call; `cold` empties the second-level cache before."""

    def __init__(self, device: str, *, cold: bool) -> None:
        self._start, self._end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        # more than any cache of today
        self._flush = torch.empty(256 << 20, dtype=torch.uint8, device=device) if cold else None

    def __call__(self, function: Callable[[], object]) -> float:
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
    clock: Callable[[Callable[[], object]], float] = cpu_clock,
) -> dict[str, list[float]]:
    """Seconds of every function in every round; in each round all run once, in turn.

    A neighbour that takes the machine for a while slows all of them alike, and the order rotates
    so that none always runs on what another left in the cache.
    """
    for function in functions.values():
        for _ in range(warmup):
            function()
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    names = list(functions)
    for turn in range(rounds):
        shift = turn % len(names)
        for name in names[shift:] + names[:shift]:
            seconds[name].append(clock(functions[name]))
    return seconds


def ratio(
    slow: Iterable[float], fast: Iterable[float], *, draws: int = 2000, seed: int = 0
) -> tuple[float, float, float]:
    """Ratio of medians and its 95 % bootstrap interval over rounds."""
    slow, fast = np.asarray(list(slow)), np.asarray(list(fast))
    pick = np.random.default_rng(seed).integers(0, len(slow), (draws, len(slow)))
    drawn = np.median(slow[pick], axis=1) / np.median(fast[pick], axis=1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(np.median(slow) / np.median(fast)), float(low), float(high)


class Recorder:
    """Appends rows to ``results/<machine>/<date>.jsonl``, each flushed as soon as it is known."""

    def __init__(self, machine: str | None, device: str = "cpu") -> None:
        self._environment = environment(device)
        self._path = None
        if machine:
            self._path = RESULTS / machine / f"{self._environment['date'][:10]}.jsonl"
            self._path.parent.mkdir(parents=True, exist_ok=True)

    def row(self, **fields: Any) -> None:
        """Print a row and, where a machine was named, keep it."""
        shown = {k: f"{v:.3g}" if isinstance(v, float) else v for k, v in fields.items()}
        print("  ".join(f"{name}={value}" for name, value in shown.items()))
        if self._path is not None:
            with self._path.open("a") as file:
                file.write(json.dumps({**fields, "env": self._environment}) + "\n")
                file.flush()
                os.fsync(file.fileno())
