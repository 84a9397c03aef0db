"""Read TensorBoard event files and compare them with the logs of a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest


def log_rows(run: Path) -> dict[str, list[dict[str, Any]]]:
    """Rows of every log.jsonl of a run by the name of its folder."""
    return {
        path.parent.name: [json.loads(line) for line in path.read_text().splitlines()]
        for path in sorted(run.rglob("log.jsonl"))
    }


def check_events(run: Path) -> None:
    """Compare: every number of every epoch, once, and nothing else."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = accumulator.EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0})
    found.Reload()
    written = {
        tag: [(event.step, event.value) for event in found.Scalars(tag)]
        for tag in found.Tags()["scalars"]
    }
    expected: dict[str, list[tuple[int, float]]] = {}
    for stage, rows in log_rows(run).items():
        for row in rows:
            for name, value in row.items():
                if name not in ("stage", "epoch") and value is not None:
                    # events hold float32
                    event = (row["epoch"], float(np.float32(value)))
                    expected.setdefault(f"{stage}/{name}", []).append(event)
    assert expected
    assert written == expected
