"""The committed rows: one JSON object a line, ``results/MACHINE/DATE.jsonl``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def all_rows(machine: str | None = None) -> list[dict[str, Any]]:
    """Every row of one machine or of all, each with its machine, oldest first."""
    return [
        {**json.loads(line), "machine": path.parent.name}
        for path in sorted(RESULTS.glob(f"{machine or '*'}/*.jsonl"))
        for line in path.read_text().splitlines()
    ]
