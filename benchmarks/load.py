"""How fast training is beside other busy processes, and what that costs on an idle machine.

    python benchmarks/load.py --work DIR [--machine NAME] [--rounds 3] [--counts 3000 300000]

Stage II of the default recipe on a small simulated cohort, in a process of its own as a command
starts it, with every value of ``GOMP_SPINCOUNT`` named: the one that commands set, and libgomp's
own, 300,000. Each is timed on the idle machine and beside one busy process a core, interleaved.
Rows hold the windows a second of the last epoch (median over rounds) and the processor time.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

LIBGOMP = 300_000  # its own count where neither variable is set
EPOCHS = 4


def main() -> None:
    """Parse the command line, time every setting, record a row for each."""
    from fastbrain._threads import SPIN_COUNT

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="folder of cohort and store")
    parser.add_argument("--machine", help="folder below benchmarks/results; default: only print")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--counts", type=int, nargs="+", default=[SPIN_COUNT, LIBGOMP])
    parser.add_argument("--train", action="store_true", help="one timed run, for this program")
    args = parser.parse_args()
    if args.train:
        print(json.dumps(train(args.work)))
        return
    child(args.work, SPIN_COUNT)  # makes the store
    cores = len(os.sched_getaffinity(0))
    found: dict[tuple[int, int], list[dict[str, float]]] = {}
    for _ in range(args.rounds):
        for others in (0, cores):
            for count in args.counts:
                with busy(others):
                    found.setdefault((others, count), []).append(child(args.work, count))
    record(args.machine, found)


def record(machine: str | None, found: dict[tuple[int, int], list[dict[str, float]]]) -> None:
    """One row a setting."""
    from recording import Recorder

    recorder = Recorder(machine)
    for (others, count), runs in found.items():
        pace = [run["windows_per_s"] for run in runs]
        quiet = median(run["windows_per_s"] for run in found[0, count])
        recorder.row(
            op="load",
            case=f"beside {others} busy processes" if others else "idle machine",
            provider="libgomp's default" if count == LIBGOMP else f"GOMP_SPINCOUNT={count}",
            windows_per_s=median(pace),
            windows_per_s_all=pace,
            cpu_s=median(run["cpu_s"] for run in runs),
            share_of_idle=median(pace) / quiet,
            rounds=len(runs),
        )


def load_table(rows: list[dict[str, Any]]) -> str:
    """Pace of training with each count of waiting rounds, idle and beside busy processes."""
    lines = [
        "| machine | waiting | windows/s, median (all rounds) | share of idle | processor time |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        rounds = ", ".join(f"{pace:.0f}" for pace in row["windows_per_s_all"])
        lines.append(
            f"| {row['case']} | {row['provider']} | {row['windows_per_s']:.0f} ({rounds}) "
            f"| {row['share_of_idle']:.0%} | {row['cpu_s']:.0f} s |"
        )
    return "\n".join(lines)


def child(work: Path, count: int) -> dict[str, float]:
    """Train once in a process of its own."""
    environment = {**os.environ, "GOMP_SPINCOUNT": str(count)}
    environment.pop("OMP_WAIT_POLICY", None)
    command = [sys.executable, __file__, "--work", str(work), "--train"]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if ran.returncode != 0:
        raise SystemExit(ran.stderr[-2000:])
    return json.loads(ran.stdout.splitlines()[-1])


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """Processes that each keep a core busy meanwhile."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def train(work: Path) -> dict[str, float]:
    """Windows a second of the last epoch of stage II, and seconds of processor time."""
    from fastbrain import data
    from fastbrain.llm4brain.training import RunConfig, preset, train_llm4brain

    design = data.CohortDesign(subjects=3, runs=2, trials=40, snr=0.25)
    if not (work / "cohort").exists():
        data.simulate_cohort(work / "cohort", design)
    if (work / "store" / "manifest.json").is_file():
        store = data.VoxelStore.open(work / "store")
    else:
        store = data.prepare_store(
            data.read_runs_table(work / "cohort" / "runs.tsv"),
            work / "store",
            window=data.WindowSpec(4.0, 4),
            kernel=(6, 6, 6),
            split=lambda trials: data.split_unseen(trials, test_subjects=["03"]),
        )
    stage = replace(preset("stage2"), epochs=EPOCHS)
    config = RunConfig(
        stimulus="text", pretrain=None, video=None, calibrate=None, stage1=None, stage2=stage
    )
    with tempfile.TemporaryDirectory() as folder:
        train_llm4brain(store, Path(folder) / "run", config)
        log = Path(folder) / "run" / "stages" / "stage2" / "log.jsonl"
        last = json.loads(log.read_text().splitlines()[-1])
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {"windows_per_s": last["windows_per_s"], "cpu_s": used.ru_utime + used.ru_stime}


if __name__ == "__main__":
    main()
