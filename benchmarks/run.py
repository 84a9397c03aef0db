"""Times the registry's entries, all providers of an entry interleaved.

    python benchmarks/run.py [--families vq lora] [--cases big] [--device cuda] [--machine NAME]

Rows are printed, and kept under ``benchmarks/results/NAME`` where a machine is named: one as soon
as it is known, so that a run that is cut keeps what it has. Every provider is checked against the
float64 truth before it is timed.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from _timing import GpuClock, Recorder, cpu_clock, gpu_state, interleaved, ratio
from registry import FAMILIES, OURS, Entry, Problem, Setting, entries

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def roofline(setting: Setting, *, rounds: int = 15) -> dict[str, float]:
    """What this device does at best: bytes a second of a copy, operations a second of a product."""
    size = 8192 if setting.on_gpu else 1024
    a, b, c = (
        torch.randn(size, size, device=setting.device, dtype=setting.dtype) for _ in range(3)
    )
    # beyond every cache
    source = torch.empty(1 << 27, device=setting.device, dtype=torch.int16)
    target = torch.empty_like(source)
    clock = GpuClock(setting.device, cold=False) if setting.on_gpu else cpu_clock
    ways: dict[str, Callable[[], object]] = {
        "copy": lambda: target.copy_(source),
        "gemm": lambda: torch.mm(a, b, out=c),
    }
    seconds = interleaved(ways, rounds=rounds, clock=clock)
    best = {name: float(np.quantile(times, 0.2)) for name, times in seconds.items()}
    return {"bytes": 2 * 2 * source.numel() / best["copy"], "flops": 2.0 * size**3 / best["gemm"]}


def peak_bytes(function: Callable[[], object], device: str) -> int | None:
    """Memory that a call takes beyond what was taken before it; None where nobody counts."""
    gc.collect()
    if not device.startswith("cuda"):
        return _peak_resident(function)
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    function()
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device) - before


def _peak_resident(function: Callable[[], object]) -> int | None:
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


def time_entry(
    entry: Entry,
    setting: Setting,
    recorder: Recorder,
    best: dict[str, float],
    *,
    rounds: int | None,
) -> None:
    """Verify one entry, time it, and record a row for each provider and state of the cache."""
    problem = entry.build(setting)
    errors = problem.verified()
    functions = {**problem.providers, **problem.ceilings}
    peaks = {name: peak_bytes(way, setting.device) for name, way in functions.items()}
    for cache in ("cold", "warm") if setting.on_gpu else (None,):
        clock = GpuClock(setting.device, cold=cache == "cold") if setting.on_gpu else cpu_clock
        before = gpu_state() if setting.on_gpu else {}
        seconds = interleaved(functions, rounds=rounds or entry.rounds, clock=clock)
        after = gpu_state() if setting.on_gpu else {}
        for name, times in seconds.items():
            row = _row(problem, times, seconds[OURS], best)
            extra: dict[str, Any] = {"error": errors.get(name), "ceiling": name in problem.ceilings}
            extra |= {"dtype": str(setting.dtype)[6:]}
            peak = peaks[name]
            extra |= {"peak_mb": None if peak is None else peak / 1e6}
            if setting.on_gpu:
                extra |= {"cache": cache, "gpu_before": before, "gpu_after": after}
            recorder.row(
                op=entry.op, case=entry.case, provider=name, **problem.facts, **row, **extra
            )


def _row(
    problem: Problem, times: list[float], ours: list[float], best: dict[str, float]
) -> dict[str, Any]:
    p20, p50, p80 = (float(q) for q in np.quantile(times, [0.2, 0.5, 0.8]))
    floor = max(problem.flops / best["flops"], problem.traffic / best["bytes"])
    ratio_ours, low, high = ratio(times, ours)
    return {
        **{"ms_p20": p20 * 1e3, "ms_p50": p50 * 1e3, "ms_p80": p80 * 1e3, "rounds": len(times)},
        **{"gflops": problem.flops / p50 / 1e9, "gbytes": problem.traffic / p50 / 1e9},
        **{"roofline": floor / p50, "ratio_to_fastbrain": ratio_ours},
        **{"ratio_low": low, "ratio_high": high},
    }


def run(
    chosen: Sequence[Entry],
    setting: Setting,
    recorder: Recorder,
    *,
    rounds: int | None = None,
    budget_s: float = float("inf"),
) -> list[str]:
    """Time entries until the budget is spent; returns the names of those left out."""
    start = perf_counter()
    best = roofline(setting)
    recorder.row(
        op="roofline",
        case=str(setting.dtype)[6:],
        provider="torch",
        gbytes=best["bytes"] / 1e9,
        gflops=best["flops"] / 1e9,
    )
    for done, entry in enumerate(chosen):
        if perf_counter() - start > budget_s:
            return [left.id for left in chosen[done:]]
        time_entry(entry, setting, recorder, best, rounds=rounds)
    return []


def main() -> None:
    """Parse the command line and run the entries."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--machine", help="folder below benchmarks/results; default: print only")
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=list(FAMILIES))
    parser.add_argument("--cases", nargs="+", help="default: all that suit the device")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", choices=DTYPES, default="float32")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, help="default: what each entry says")
    parser.add_argument("--compile", action="store_true", help="also time a compiled baseline")
    parser.add_argument("--budget-s", type=float, default=float("inf"))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    setting = Setting(arguments.device, DTYPES[arguments.dtype], arguments.compile)
    chosen = [
        entry
        for entry in entries(*arguments.families)
        if (setting.on_gpu or not entry.gpu_only)
        and (arguments.cases is None or entry.case in arguments.cases)
    ]
    recorder = Recorder(arguments.machine, arguments.device)
    left = run(chosen, setting, recorder, rounds=arguments.rounds, budget_s=arguments.budget_s)
    if left:
        print(f"The budget of {arguments.budget_s:g} s was spent before: {', '.join(left)}.")


if __name__ == "__main__":
    main()
