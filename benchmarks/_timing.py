"""Fair timing on a noisy machine: rounds A/B/A/B, medians, ratios with a bootstrap interval."""

from __future__ import annotations

import hashlib
import math
import os
import platform
import subprocess
from collections.abc import Callable, Iterable
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from time import perf_counter, time
from typing import Any

import numpy as np
import torch
from rows import Book

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
    """Commit of the working tree, with a plus where it has changes, or a digest of the sources."""
    here = Path(__file__).parent

    def git(*arguments: str) -> str | None:
        try:
            ran = subprocess.run(["git", *arguments], cwd=here, capture_output=True, text=True)
        except OSError:
            return None
        return ran.stdout.strip() if ran.returncode == 0 else None

    name = git("rev-parse", "--short", "HEAD")
    if name is None:
        return f"files-{digest(here.parent)}"
    return name + ("+" if git("status", "--porcelain") else "")


def digest(root: Path) -> str:
    """Twelve digits that name the sources of kernels, ops and benchmarks where git cannot."""
    folders = ("csrc", "kernels", "fastbrain/ops", "benchmarks")
    total = hashlib.sha256()
    for path in sorted(p for folder in folders for p in (root / folder).glob("**/*.[pch]*")):
        if path.is_file() and "__pycache__" not in path.parts:
            total.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes())
    return total.hexdigest()[:12]


def no_tf32() -> None:
    """Make float32 mean float32: TF32 rounds products to ten bits."""
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False


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
            "tf32": torch.backends.cuda.matmul.allow_tf32 or torch.backends.cudnn.allow_tf32,
        }
    return facts


def gpu_state() -> dict[str, Any]:
    """Clock, power and temperature of the GPU now; a row of a throttled GPU shows that it was."""
    try:
        # through NVML, where its Python module is there: a process each time would cost as much as
        # what is timed
        return {
            "sm_mhz": torch.cuda.clock_rate(),
            "watts": torch.cuda.power_draw() / 1e3,
            "celsius": torch.cuda.temperature(),
        }
    except Exception:
        return _asked_of_smi()


def _asked_of_smi() -> dict[str, Any]:
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
    deadline: float = math.inf,
    watch: Callable[[str], None] = lambda name: None,
) -> dict[str, list[float]]:
    """Seconds of every function in every round; in each round all run once, in turn.

    A neighbour that takes the machine for a while slows all of them alike, and the order rotates
    so that none always runs on what another left in the cache.

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
    """
    for name, function in functions.items():
        for _ in range(warmup):
            watch(name)
            function()
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    names = list(functions)
    for turn in range(rounds):
        if turn >= 3 and time() > deadline:
            break
        shift = turn % len(names)
        for name in names[shift:] + names[:shift]:
            watch(name)
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
    """Rows of one process, each with the environment that its numbers depend on.

    Parameters
    ----------
    machine : str or None
        Folder below ``${OUT:-benchmarks/results}``; None only prints.
    device : str
    write : callable, optional
        Where whole rows go instead.
    """

    def __init__(
        self,
        machine: str | None,
        device: str = "cpu",
        write: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        self.environment = environment(device)
        self._write = write or Book(machine, self.environment["date"][:10]).write

    def row(self, **fields: Any) -> None:
        """Print a row and, where a machine was named, keep it."""
        self._write({**fields, "env": self.environment})
