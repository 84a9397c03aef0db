"""Times the registry's entries, all providers of an entry interleaved.

    python benchmarks/run.py [--families vq lora] [--cases big] [--device cuda] [--machine NAME]

Rows are printed, and kept under ``benchmarks/results/NAME`` where a machine is named: one as soon
as it is known, so that a run that is cut keeps what it has. Every provider is checked against the
float64 truth before it is timed; one that raises or is wrong is a row (``failed_OP``) instead.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from time import perf_counter

import torch
from _timing import Recorder, no_tf32
from ceilings import record_roofline
from measuring import Measurement
from registry import Entry, Setting, entries
from rows import FAMILIES

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def run(
    chosen: Sequence[Entry],
    setting: Setting,
    recorder: Recorder,
    *,
    rounds: int | None = None,
    budget_s: float = float("inf"),
) -> tuple[list[str], list[str]]:
    """Time entries until the budget is spent; returns who failed and the entries left out."""
    start = perf_counter()
    best = record_roofline(setting, recorder)
    failed: list[str] = []
    for done, entry in enumerate(chosen):
        if perf_counter() - start > budget_s:
            return failed, [left.id for left in chosen[done:]]
        measurement = Measurement(entry, setting, recorder, best)
        failed += [f"{entry.id} ({name})" for name in measurement.run(rounds)]
    return failed, []


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
    no_tf32()
    chosen = [
        entry
        for entry in entries(*arguments.families)
        if entry.suits(setting) and (arguments.cases is None or entry.case in arguments.cases)
    ]
    recorder = Recorder(arguments.machine, arguments.device)
    failed, left = run(
        chosen, setting, recorder, rounds=arguments.rounds, budget_s=arguments.budget_s
    )
    if left:
        print(f"The budget of {arguments.budget_s:g} s was spent before: {', '.join(left)}.")
    if failed:
        raise SystemExit(f"Failed or wrong, and not timed: {', '.join(failed)}.")


if __name__ == "__main__":
    main()
