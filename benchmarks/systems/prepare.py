"""Preparing one run beside decompressing it, and preparing a cohort in two processes beside one.

    python benchmarks/systems/prepare.py [--machine NAME] [--rounds 7] [--runs 8] [--folder TMP]

The run is as large as one of the Human Action Dataset: 156 volumes of 100 x 100 x 72 voxels in a
``.nii.gz``, a quarter of it brain. *Floor* is the time to decompress the file and to compare its
checksum, into a buffer that is used again, by the decoder that preparing uses; beside it stands the
program gunzip. Preparing reads the same file, removes drifts, writes
the store's file of the run and syncs it. Both are repeated in turn, once for each decoder that is
installed. Peak memory is VmHWM of a process that does nothing else, import of the package
included. The cohort is prepared with 1 and with 2 jobs in turn; one job hashes its input on a
second thread, so two jobs cannot be twice as fast on two cores.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

ROOT = Path(__file__).parents[2]
Row = dict[str, Any]
KERNEL, WINDOW = (8, 8, 8), 10


def run_table(rows: list[Row]) -> str:
    """Newest row of each machine and decoder: preparing one run beside decompressing it."""
    lines = [
        "| machine | decoder | decompressing | preparing | share of that floor | of gunzip's "
        "| peak memory | of the run's int16 |",
        "|---|---|---|---|---|---|---|---|",
    ]
    newest = {(row["machine"], row["decoder"]): row for row in rows}
    for (_, decoder), row in newest.items():
        program = f"{row['gunzip_ms'] / row['prepare_ms']:.0%}" if "gunzip_ms" in row else ""
        lines.append(
            f"| {row['env']['cpu']}, {row['env']['date'][:10]} | {decoder} "
            f"| {row['floor_ms']:.0f} ms | {row['prepare_ms']:.0f} ms "
            f"| {row['share_of_floor']:.0%} | {program} | {row['peak_mb']:.0f} MB "
            f"| {row['peak_over_run']:.2f}x |"
        )
    return "\n".join(lines)


def jobs_table(rows: list[Row]) -> str:
    """Newest row of each machine: a store prepared with two jobs beside one."""
    lines = ["| machine | runs | 1 job | 2 jobs | faster |", "|---|---|---|---|---|"]
    for row in {row["machine"]: row for row in rows}.values():
        lines.append(
            f"| {row['env']['cpu']}, {row['env']['cores']} cores | {row['runs']} "
            f"| {row['one_s']:.1f} s | {row['two_s']:.1f} s | {row['ratio']:.2f}x |"
        )
    return "\n".join(lines)


def plan_of(table: Path) -> Any:
    """Plan the store of a table of runs; the first runs train, the last one is for testing."""
    from fastbrain.data import WindowSpec, plan_store, read_runs_table, split_by

    runs = read_runs_table(table)
    names = [run.run for run in runs]
    parts = {"train": names[:-2], "val": names[-2:-1], "test": names[-1:]}
    return plan_store(
        runs,
        window=WindowSpec(4.0, WINDOW),
        kernel=KERNEL,
        high_pass_s=128.0,
        split=lambda trials: split_by(trials, "run", closed_set=True, **parts),
    )


def conversion(table: Path, folder: Path) -> Callable[[], object]:
    """A call that converts the first run of a table."""
    from fastbrain.data.store.convert import Conversion, RunTask, convert_run

    plan = plan_of(table)
    how = Conversion.of(folder, plan)
    how.packing  # noqa: B018  # computed once for a store
    run = plan.runs[0]
    task = RunTask(run, tuple(trial for trial in plan.trials if trial.run_id == run.run_id))
    return lambda: convert_run(how, task)


def decompression(path: Path) -> Callable[[], object]:
    """A call that reads a gzip file to its end."""
    from fastbrain.data.readers.gunzip import open_gzip

    block = bytearray(1 << 24)

    def read() -> None:
        with open_gzip(path) as file:
            while file.readinto(block):  # type: ignore[attr-defined]
                pass

    return read


def gunzip(path: Path) -> Callable[[], object]:
    """A call of the program gunzip, which throws its output away."""
    command = ["gunzip", "-c", str(path)]
    return lambda: subprocess.run(command, stdout=subprocess.DEVNULL, check=True)


def one_run(table: Path, rounds: int) -> dict[str, Any]:
    """Seconds of both, in turn; run in a process of its own for each decoder."""
    # digests of inputs are cached by name and time: each round must compute its own
    from fastbrain import _digests

    with tempfile.TemporaryDirectory(dir=table.parent) as folder:
        calls = {"floor": decompression(table.parent / "1.nii.gz")}
        if shutil.which("gunzip"):
            calls["gunzip"] = gunzip(table.parent / "1.nii.gz")
        calls["prepare"] = conversion(table, Path(folder))
        seconds: dict[str, list[float]] = {name: [] for name in calls}
        for turn in range(rounds + 1):
            for name, call in calls.items():
                _digests._known.clear()
                start = perf_counter()
                call()
                if turn:
                    seconds[name].append(perf_counter() - start)
    return {f"{name}_ms": 1e3 * median(times) for name, times in seconds.items()}


def peak(table: Path) -> dict[str, float]:
    """Megabytes of a process that converts one run, and before it did."""
    with tempfile.TemporaryDirectory(dir=table.parent) as folder:
        call = conversion(table, Path(folder))
        before = _high_water()
        call()
    return {"before_mb": before, "peak_mb": _high_water()}


def _high_water(field: str = "VmHWM") -> float:
    """Megabytes of a field of this process's status."""
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if field in x)
    return int(line.split()[1]) * 1024 / 1e6


def jobs(table: Path, rounds: int) -> dict[str, Any]:
    """Seconds of a whole preparation with one and with two jobs, in turn."""
    from fastbrain.data import write_store

    plan = plan_of(table)
    seconds: dict[int, list[float]] = {1: [], 2: []}
    for turn in range(rounds + 1):
        for n_jobs in (1, 2):
            with tempfile.TemporaryDirectory(dir=table.parent) as folder:
                for path in table.parent.glob("*.nii.gz"):
                    path.touch()  # digests are cached by time: each round must compute its own
                start = perf_counter()
                write_store(plan, Path(folder) / "store", n_jobs=n_jobs)
                if turn:  # the first round starts the workers
                    seconds[n_jobs].append(perf_counter() - start)
    one, two = (median(times) for times in seconds.values())
    return {"one_s": one, "two_s": two, "ratio": one / two, "runs": len(plan.runs)}


def in_child(name: str, table: Path, rounds: int, decoder: str) -> dict[str, Any]:
    """Run one of the functions in a new process."""
    command = [sys.executable, __file__, "--child", name, "--table", str(table)]
    with tempfile.TemporaryDirectory() as cache:
        env = {**os.environ, "FASTBRAIN_GUNZIP": decoder, "FASTBRAIN_CACHE": cache}
        done = subprocess.run(
            [*command, "--rounds", str(rounds)], env=env, stdout=subprocess.PIPE, check=True
        )
    return dict(json.loads(done.stdout.splitlines()[-1]))


def measure(folder: Path, rounds: int, runs: int, record: Callable[..., None]) -> None:
    """Write the scans, measure, and hand over the rows."""
    import scans

    from fastbrain.data.readers.gunzip import installed

    table = scans.write_cohort(folder, runs=max(3, runs))
    size = scans.VOLUMES * 2
    for n in scans.SHAPE:
        size *= n
    case = "156 volumes of 100 x 100 x 72"
    for decoder in installed():
        row = in_child("one", table, rounds, decoder) | in_child("peak", table, 1, decoder)
        row["share_of_floor"] = row["floor_ms"] / row["prepare_ms"]
        row["peak_over_run"] = row["peak_mb"] / (size / 1e6)
        packed = (folder / "1.nii.gz").stat().st_size / size
        record(
            op="prepare_run", case=case, decoder=decoder, run_mb=size / 1e6, packed=packed, **row
        )
    record(op="prepare_jobs", case=case, **in_child("jobs", table, rounds, installed()[0]))


def main() -> None:
    """Measure and keep the rows."""
    sys.path[:0] = [str(ROOT / "benchmarks"), str(Path(__file__).parent)]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--runs", type=int, default=8, help="runs of the cohort")
    parser.add_argument("--folder", type=Path, help="where scans are written; default: temporary")
    parser.add_argument("--machine", help="folder below benchmarks/results; default: print only")
    parser.add_argument("--child", choices=["one", "peak", "jobs"], help=argparse.SUPPRESS)
    parser.add_argument("--table", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child == "peak":
        print(json.dumps(peak(args.table)))
    elif args.child:
        print(json.dumps({"one": one_run, "jobs": jobs}[args.child](args.table, args.rounds)))
    else:
        from recording import Recorder

        with tempfile.TemporaryDirectory(dir=args.folder) as folder:
            measure(Path(folder), args.rounds, args.runs, Recorder(args.machine).row)


if __name__ == "__main__":
    main()
