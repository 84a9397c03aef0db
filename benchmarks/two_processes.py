"""Stage II of the demo in two processes and in one: are the numbers equal, and how fast are both?

    python benchmarks/two_processes.py --work DIR [--machine NAME]

Both runs train on texts with the same seed and batch size, one thread a process. A row holds the
largest relative difference of any number of the log of stage II, and windows/s of its last epoch.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from recording import Recorder
from training import _store

CONFIG = {
    "stimulus": "text",
    "stage1": {"epochs": 1},
    "stage2": {"epochs": 2, "keep_best": False},
    "adapt_runs": 1,
}
TIMING = ("windows_per_s", "tokens_per_s", "wait")
LAUNCH = {1: [], 2: ["-m", "torch.distributed.run", "--nproc-per-node", "2"]}


def main() -> None:
    """Train twice, compare, record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="folder of cohort and store")
    parser.add_argument("--machine", help="folder below benchmarks/results; default: only print")
    args = parser.parse_args()
    store = _store(args.work / "demo", "demo")
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as work:
        (Path(work) / "config.json").write_text(json.dumps(CONFIG))
        rows = {n: _trained(store.path, Path(work), n) for n in LAUNCH}
    differ = max(
        abs(a[key] - b[key]) / max(abs(a[key]), 1e-6)
        for a, b in zip(*rows.values(), strict=True)
        for key in a
        if key not in TIMING and isinstance(a[key], float)
    )
    found: dict[str, Any] = {"difference": differ, "load_before": load}
    found |= {f"windows_per_s_{n}": log[-1]["windows_per_s"] for n, log in rows.items()}
    Recorder(args.machine).row(op="two_processes", case="demo stage2", **found)


def _trained(store: Path, work: Path, processes: int) -> list[dict[str, Any]]:
    run = work / f"run-{processes}"
    command = [sys.executable, *LAUNCH[processes], "-m", "fastbrain.cli", "train"]
    options = ["--config", str(work / "config.json"), "--allow-leak", "a benchmark"]
    subprocess.run(
        [*command, str(store), str(run), *options],
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    lines = (run / "stages" / "stage2" / "log.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


if __name__ == "__main__":
    main()
