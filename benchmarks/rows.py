"""Rows of the repository: one JSON object a line, ``results/MACHINE/DATE.jsonl``.

Nothing here imports torch or fastbrain, so that the GPU suite can start before either is built.
"""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def all_rows(machine: str | None = None) -> list[dict[str, Any]]:
    """Every committed row of one machine or of all, each with its machine, oldest first."""
    return [
        {**json.loads(line), "machine": path.parent.name}
        for path in sorted(RESULTS.glob(f"{machine or '*'}/*.jsonl"))
        for line in path.read_text().splitlines()
    ]


def _end_row(path: Path) -> None:
    """End the last row of a file; remove it if a run that was killed has left half of it."""
    content = path.read_bytes()
    last = content.rpartition(b"\n")[2]
    if not last:
        return
    try:
        json.loads(last)
    except ValueError:
        os.truncate(path, len(content) - len(last))
    else:
        with path.open("a") as file:
            file.write("\n")


class Book:
    """Prints rows and, where a machine is named, keeps each as soon as it is known.

    They are kept below the folder that the environment variable ``OUT`` names, by default below
    ``benchmarks/results``.

    Parameters
    ----------
    machine : str or None
        Folder of this machine's rows; None only prints.
    date : str
        Day of the run, ``2026-11-27``: name of the file.
    """

    def __init__(self, machine: str | None, date: str) -> None:
        self.path: Path | None = None
        self._lock = threading.Lock()
        if machine:
            self.path = Path(os.environ.get("OUT") or RESULTS) / machine / f"{date}.jsonl"
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if self.path.exists():
                _end_row(self.path)

    def write(self, row: dict[str, Any]) -> None:
        """Print a row and keep it, flushed to the disk."""
        shown = {
            name: f"{value:.3g}" if isinstance(value, float) else value
            for name, value in row.items()
            if name != "env"
        }
        with self._lock:
            print("  ".join(f"{name}={value}" for name, value in shown.items()), flush=True)
            if self.path is not None:
                with self.path.open("a") as file:
                    file.write(json.dumps(row) + "\n")
                    file.flush()
                    os.fsync(file.fileno())
