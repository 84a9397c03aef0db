"""The GPU suite after the build: op cases, then every family in half precision and in float32.

    python benchmarks/gpu_suite.py [--machine NAME] [--budget-s 1500] [--smoke]

``--smoke`` runs the whole of it on the CPU with two rounds and small cases alone, to try the suite
itself. A family that fails is a row with its error, and the next one runs.
"""

from __future__ import annotations

import argparse
import traceback
from importlib.metadata import PackageNotFoundError, version
from time import perf_counter

import torch
from _timing import Recorder
from registry import FAMILIES, Entry, Setting, entries
from run import roofline, time_entry

from fastbrain.ops._selftest import run_selftest

SMOKE = {"native", "M64-768x768-r8", "B36-N2000-D2048", "64x8192x256", "tiny"}
HALF = {"neighborhood": torch.float16}
# distributions that entries are timed against where they are installed
PEERS = ("peft", "vector-quantize-pytorch")


def record_peers(recorder: Recorder) -> None:
    """A row for each peer: its version, or that its comparisons are skipped."""
    for name in PEERS:
        try:
            note = version(name)
        except PackageNotFoundError:
            note = "skipped: not installed"
        recorder.row(op="peer", case=name, provider=name, note=note)


def check_ops(recorder: Recorder, device: str) -> int:
    """Every case of every op on every backend of the device, a row each; how many failed."""
    failed = 0
    for row in run_selftest(device=device):
        failed += not row.passed
        recorder.row(
            op=f"selftest_{row.op}",
            case=row.case,
            provider=row.backend,
            dtype=row.dtype,
            passed=row.passed,
            error=row.error,
            note=row.note,
        )
    return failed


def settings(family: str, device: str) -> list[Setting]:
    """Half precision first: that is what people train in."""
    if device == "cpu":
        return [Setting()]
    half = Setting(device, HALF.get(family, torch.bfloat16))
    return [half] if family == "decode" else [half, Setting(device)]


def main() -> None:
    """Run what the budget allows, the most telling first."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--machine", help="folder below benchmarks/results; default: print only")
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=list(FAMILIES))
    parser.add_argument("--budget-s", type=float, default=1500.0)
    parser.add_argument("--smoke", action="store_true", help="on the CPU, to try the suite itself")
    arguments = parser.parse_args()
    start = perf_counter()
    device = "cpu" if arguments.smoke else "cuda"
    recorder = Recorder(arguments.machine, device)
    record_peers(recorder)
    failed = 0 if arguments.smoke else check_ops(recorder, device)
    broken: list[str] = []
    left: list[str] = []
    for family in arguments.families:
        # what is left is shared by the families that are left
        remaining = len(arguments.families) - arguments.families.index(family)
        deadline = perf_counter() + (start + arguments.budget_s - perf_counter()) / remaining
        for setting in settings(family, device):
            best = roofline(setting, rounds=5)
            recorder.row(
                op="roofline",
                case=str(setting.dtype)[6:],
                provider="torch",
                gbytes=best["bytes"] / 1e9,
                gflops=best["flops"] / 1e9,
            )
            for entry in entries(family):
                if arguments.smoke and entry.case not in SMOKE:
                    continue
                if perf_counter() > deadline:
                    left.append(f"{entry.id} ({str(setting.dtype)[6:]})")
                    continue
                broken += attempt(entry, setting, recorder, best, smoke=arguments.smoke)
    print(f"{failed} op cases failed; broken: {broken or 'none'}; no time for: {left or 'none'}.")
    raise SystemExit(1 if failed or broken else 0)


def attempt(
    entry: Entry, setting: Setting, recorder: Recorder, best: dict[str, float], *, smoke: bool
) -> list[str]:
    """Time one entry; a failure becomes a row, so that the others still run."""
    try:
        time_entry(entry, setting, recorder, best, rounds=2 if smoke else None)
    except (Exception, SystemExit) as failure:
        traceback.print_exc()
        note = f"{type(failure).__name__}: {failure}"[:500]
        dtype = str(setting.dtype)[6:]
        recorder.row(op=f"failed_{entry.op}", case=entry.case, provider="", dtype=dtype, note=note)
        return [entry.id]
    finally:
        if setting.on_gpu:
            torch.cuda.empty_cache()
    return []


if __name__ == "__main__":
    main()
