"""What a machine does at best, and what a call takes of its memory."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from .._arguments import checked
from .machine import Recorder
from .registry import Setting
from .timing import GpuClock, cpu_clock, interleaved

Way = Callable[[], object]


def roofline(setting: Setting, *, rounds: int = 15, elements: int = 1 << 27) -> dict[str, float]:
    """What this device does at best: bytes a second of a copy, operations a second of a product.

    Parameters
    ----------
    setting : Setting
    rounds : int
    elements : int
        Of two bytes, that are copied; beyond every cache.
    """
    size = 8192 if setting.on_gpu else 1024
    a, b, c = (
        torch.randn(size, size, device=setting.device, dtype=setting.dtype) for _ in range(3)
    )
    source = torch.empty(elements, device=setting.device, dtype=torch.int16)
    target = torch.empty_like(source)
    clock = GpuClock(setting.device, cold=False) if setting.on_gpu else cpu_clock
    ways: dict[str, Way] = {
        "copy": lambda: target.copy_(source),
        "gemm": lambda: torch.mm(a, b, out=c),
    }
    seconds = interleaved(ways, rounds=rounds, clock=clock)
    best = {name: float(np.quantile(times, 0.2)) for name, times in seconds.items()}
    return {"bytes": 2 * 2 * source.numel() / best["copy"], "flops": 2.0 * size**3 / best["gemm"]}


def record_roofline(setting: Setting, recorder: Recorder, **size: int) -> dict[str, float]:
    """Measure the roofline, as :func:`roofline` does, and keep it as a row."""
    best = roofline(setting, **size)
    numbers = {"gbytes": best["bytes"] / 1e9, "gflops": best["flops"] / 1e9}
    recorder.row(op="roofline", case=setting.precision, provider="torch", **numbers)
    return best


@checked
def peak_bytes(function: Way, device: str) -> int | None:
    """Memory that a call takes beyond what was taken before; None where it is not measurable."""
    gc.collect()
    if not device.startswith("cuda"):
        return _peak_resident(function)
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    function()
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device) - before


def _peak_resident(function: Way) -> int | None:
    """Bytes by which the resident set grows at most during a call (Linux)."""
    status, reset = Path("/proc/self/status"), Path("/proc/self/clear_refs")

    def bytes_of(name: str) -> int:
        line = next(row for row in status.read_text().splitlines() if row.startswith(name))
        return 1024 * int(line.split()[1])

    try:
        # pages that the allocator keeps for later would not count as growth
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        reset.write_text("5")
    except OSError:
        return None
    before = bytes_of("VmRSS:")
    function()
    return bytes_of("VmHWM:") - before
