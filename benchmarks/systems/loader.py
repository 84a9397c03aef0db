"""Windows of brain voxels from disk: fastbrain beside nibabel, nilearn, WebDataset and LitData.

    python benchmarks/systems/loader.py [--machine NAME] [--rounds 5] [--runs 3] [--folder TMP]

The same volumes for all: runs of 156 volumes of 100 x 100 x 72 voxels, a quarter of it brain, as
``.nii.gz``, as ``.nii`` and as a store. A window is 10 volumes at a random place. All files are in
the page cache. Every provider reads in a process of its own, in turn. Peak memory is VmHWM of that
process, which counts the mapped pages of files; MB/s counts the brain voxels as int16, whatever
type they arrive in. Providers that are not installed are left out, with a note.

Then the loader feeds the tokenizer: the time that it waits for batches over its own time, with and
without reading ahead.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

ROOT = Path(__file__).parents[2]
CASE = "10 volumes of 100 x 100 x 72"
Row = dict[str, Any]


def loader_table(rows: list[Row]) -> str:
    """Newest row of each provider and machine, the fastest first."""
    parts = []
    for machine in dict.fromkeys(row["machine"] for row in rows):
        newest = {row["provider"]: row for row in rows if row["machine"] == machine}
        env = [*newest.values()][-1]["env"]
        own = newest["fastbrain"]["ms_p50"]
        lines = [
            f"{env['cpu']}, {env['cores']} cores, commit {env['commit']}, {env['date'][:10]}:",
            "",
            "| who | a window | windows/s | MB/s | peak memory | without files | times ours |",
            "|---|---|---|---|---|---|---|",
        ]
        for name, row in sorted(newest.items(), key=lambda item: item[1]["ms_p50"]):
            lines.append(
                f"| {name} | {row['ms_p50']:.3g} ms | {row['windows_per_s']:.3g} "
                f"| {row['mbytes_per_s']:.0f} | {row['peak_mb']:.0f} MB | {row['anon_mb']:.0f} MB "
                f"| {row['ms_p50'] / own:.3g} |"
            )
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def feed_table(rows: list[Row]) -> str:
    """Time that the tokenizer waits for batches, as a share of its own time."""
    lines = [
        "| machine | tokenizer, a batch | loader, a batch | waiting | waiting, read ahead |",
        "|---|---|---|---|---|",
    ]
    for row in {row["machine"]: row for row in rows}.values():
        lines.append(
            f"| {row['env']['cpu']}, {row['env']['threads']} threads "
            f"| {row['tokenizer_ms']:.3g} ms | {row['loader_ms']:.3g} ms | {row['wait']:.1%} "
            f"| {row['wait_ahead']:.1%} |"
        )
    return "\n".join(lines)


def read_windows(name: str, folder: Path, seed: int) -> Row:
    """Time the windows of one provider; run in a process of its own."""
    import numpy as np
    from loader_peers import PROVIDERS, WINDOW
    from prepare import _high_water
    from scans import VOLUMES

    make, count = PROVIDERS[name]
    before = _high_water()
    call = make(folder)
    runs = len(list(folder.glob("[0-9]*.nii.gz")))
    rng = np.random.default_rng(seed)
    places = np.stack(
        [rng.integers(1, runs + 1, count + 2), rng.integers(0, VOLUMES - WINDOW, count + 2)], axis=1
    )
    seconds = []
    for run, start in places.tolist():
        begin = perf_counter()
        call(run, start)
        seconds.append(perf_counter() - begin)
    # the first two open files and import modules
    peaks = {"peak_mb": _high_water("VmHWM"), "anon_mb": _high_water("RssAnon")}
    return {"ms": 1e3 * median(seconds[2:]), "before_mb": before, **peaks}


def feed(folder: Path, rounds: int) -> Row:
    """Time batches, and the tokenizer on them, alone and in turn."""
    import torch

    from fastbrain.data import VoxelStore, WindowLoader
    from fastbrain.ops import tokenize_voxels
    from fastbrain.training.prefetch import Prefetched

    store = VoxelStore.open(folder / "store")
    grid = store.grid
    weight = torch.randn(768, 1, *grid.kernel) / grid.patch_voxels**0.5
    mean, inv_std = (torch.from_numpy(getattr(store, name)) for name in ("mean", "inv_std"))

    def tokens(batch: Any) -> None:
        options = {"grid": grid, "mean": mean, "inv_std": inv_std, "scale": store.scale}
        volumes = batch.voxels.flatten(0, 1)[:, None]  # (B·F, 1, n_tokens, P)
        tokenize_voxels(volumes, weight, **options)

    ids = [trial.trial_id for trial in store.trials]
    times: dict[str, list[float]] = {name: [] for name in ("loader", "tokenizer", "ahead")}
    for turn in range(rounds + 1):
        for name in ("plain", "ahead"):
            loader: Any = WindowLoader(store, ids, batch_size=8, shuffle=True, seed=turn)
            loader = Prefetched(loader) if name == "ahead" else loader
            waited = worked = 0.0
            begin = perf_counter()
            for batch in loader:
                got = perf_counter()
                tokens(batch)
                done = perf_counter()
                waited, worked, begin = waited + got - begin, worked + done - got, done
            if turn:
                times["loader" if name == "plain" else "ahead"].append(waited)
                times["tokenizer"].append(worked)
    batches = -(-len(ids) // 8)
    loader_s, ahead_s, tokenizer_s = (median(times[n]) for n in ("loader", "ahead", "tokenizer"))
    return {
        "tokenizer_ms": 1e3 * tokenizer_s / batches,
        "loader_ms": 1e3 * loader_s / batches,
        "wait": loader_s / tokenizer_s,
        "wait_ahead": ahead_s / tokenizer_s,
    }


def make(folder: Path, runs: int) -> float:
    """Write scans, stores and exports; returns the seconds of preparing the store."""
    from dataclasses import replace

    import scans
    from loader_peers import write_litdata
    from prepare import plan_of

    from fastbrain.data import write_store
    from fastbrain.integrations.store_exports import export_store

    table = scans.write_cohort(folder, runs=runs)
    for run in range(1, runs + 1):
        scans.write_scan(folder / f"{run}.nii", seed=run)
    plan = plan_of(table)
    begin = perf_counter()
    store = write_store(plan, folder / "store")
    seconds = perf_counter() - begin
    write_store(replace(plan, dtype="int8"), folder / "store8")
    export_store(store, folder / "tars", "webdataset")
    try:
        write_litdata(folder)
    except ImportError as error:
        print(f"litdata is left out: {error}")
    return seconds


def in_child(*arguments: str) -> Row:
    """Run one provider, or the feeding, in a new process."""
    done = subprocess.run([sys.executable, __file__, *arguments], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        return {}
    return dict(json.loads(done.stdout.splitlines()[-1]))


def measure(folder: Path, rounds: int, runs: int, record: Callable[..., None]) -> None:
    """Write the data, measure in rounds, and hand over the rows."""
    import scans
    from loader_peers import PROVIDERS, WINDOW

    seconds = make(folder, runs)
    brain = int(scans.brain_mask().sum())
    size = WINDOW * brain * 2
    found: dict[str, list[Row]] = {name: [] for name in PROVIDERS}
    for turn in range(rounds):
        names = [*PROVIDERS]
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            if row := in_child("--child", name, "--folder", str(folder), "--seed", str(turn)):
                found[name].append(row)
    for name, rows in found.items():
        if not rows:
            print(f"{name} is left out: it is not installed, or failed")
            continue
        ms = median(row["ms"] for row in rows)
        record(
            op="loader",
            case=CASE,
            provider=name,
            ms_p50=ms,
            windows_per_s=1e3 / ms,
            mbytes_per_s=size / ms / 1e3,
            **{k: median(row[k] for row in rows) for k in ("peak_mb", "anon_mb", "before_mb")},
            rounds=len(rows),
            prepared_s=seconds,
        )
    row = in_child("--child", "feed", "--folder", str(folder), "--rounds", str(rounds))
    if not row:
        raise SystemExit("loader: feeding the tokenizer failed, so there is no row of it")
    record(op="loader_feed", case="batches of 8 windows, 768 dimensions", **row)


def main() -> None:
    """Measure and keep the rows."""
    sys.path[:0] = [str(ROOT / "benchmarks"), str(Path(__file__).parent)]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where data are written; default: temporary")
    parser.add_argument("--machine", help="folder below benchmarks/results; default: print only")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child == "feed":
        print(json.dumps(feed(args.folder, args.rounds)))
    elif args.child:
        print(json.dumps(read_windows(args.child, args.folder, args.seed)))
    else:
        from recording import Recorder

        with tempfile.TemporaryDirectory(dir=args.folder) as folder:
            # digests of the runs are cached: a window that is read first must not pay for them
            os.environ.setdefault("FASTBRAIN_CACHE", str(Path(folder) / "cache"))
            measure(Path(folder), args.rounds, args.runs, Recorder(args.machine).row)


if __name__ == "__main__":
    main()
