"""The table of a GPU from the rows of a race. Nothing here imports torch."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

FORMAT = 1
KEPT = ("gpu", "cuda", "torch", "triton", "fastbrain", "commit", "date", "cpu")


class RaceTable:
    """Collects rows and names the fastest candidate of each class of shapes.

    Parameters
    ----------
    path : Path or None
        ``tables/GPU.json``; None writes nothing.
    gpu : str
        Name of the GPU.
    """

    def __init__(self, path: Path | None, gpu: str) -> None:
        self.path, self.gpu = path, gpu
        self._env: dict[str, Any] = {}
        # kernel and class of shapes -> case -> candidate -> milliseconds
        self._ms: dict[tuple[str, str], dict[str, dict[str, float]]] = {}

    def add(self, row: dict[str, Any]) -> None:
        """Take in a row; rows other than ``race`` are ignored."""
        if row["op"] != "race":
            return
        self._env = {name: row["env"][name] for name in KEPT if name in row["env"]}
        cases = self._ms.setdefault((row["kernel"], row["shape"]), {})
        cases.setdefault(row["case"], {})[row["candidate"]] = row["ms_p50"]

    def table(self) -> dict[str, Any]:
        """The table as JSON holds it."""
        choices: dict[str, dict[str, Any]] = {}
        for (kernel, shape), cases in sorted(self._ms.items()):
            # one that failed in a case is not for this class of shapes
            common = set.intersection(*(set(ms) for ms in cases.values()))
            if not common:
                continue
            slower = {
                name: sum(ms[name] / min(ms.values()) for ms in cases.values()) / len(cases)
                for name in sorted(common)
            }
            fastest = min(slower, key=lambda name: slower[name])
            choices.setdefault(kernel, {})[shape] = {"candidate": fastest, "ms": cases}
        return {"format": FORMAT, "gpu": self.gpu, "env": self._env, "choices": choices}

    def write(self) -> None:
        """Write the file whole or not at all."""
        if self.path is None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        beside = self.path.with_suffix(".part")
        with beside.open("w") as file:
            file.write(json.dumps(self.table(), indent=1) + "\n")
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self.path)
