"""The fMRI language model with and without its adversary: rows of ``studies/vq_simulated.py``.

    python benchmarks/vqlm.py [--machine NAME] [--seeds 0 1 2] [--people 60]

A row is kept as soon as it is known, and rows that are there are not made again.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from recording import Recorder
from rows import all_rows

STUDY = Path(__file__).parent.parent / "studies" / "vq_simulated.py"
CASES = {
    (0.0, "rotated"): "without adversary",
    (1.0, "rotated"): "with adversary",
    (1.0, "aligned"): "with adversary, codes start aligned",
    (1.0, "random"): "with adversary, codes start at random",
}


def main() -> None:
    """Make the rows that are not there yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--machine", help="folder below benchmarks/results; default: only print")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--people", type=int, default=60)
    args = parser.parse_args()
    recorder = Recorder(args.machine)
    known = all_rows(args.machine) if args.machine else []
    there = {(r["seed"], r["case"], r["people"]) for r in known if r["op"] == "vqlm"}
    for seed in args.seeds:
        for (weight, start), case in CASES.items():
            if (seed, case, args.people) not in there:
                recorder.row(op="vqlm", case=case, **run(seed, weight, start, args.people))


def run(seed: int, weight: float, start: str, people: int) -> dict:
    """One row of the study."""
    asked = {"--seeds": seed, "--domain": weight, "--starts": start, "--people": people}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "rows.json"
        command = [sys.executable, str(STUDY), "--out", str(out)]
        command += [str(part) for option in asked.items() for part in option]
        subprocess.run(command, check=True)
        return json.loads(out.read_text())[0]


if __name__ == "__main__":
    main()
