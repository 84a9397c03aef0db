"""Real fMRI: ``alice_retrieval.py`` with the motion of each head taken out of its regions.

    python studies/alice_motion.py --data DIR --out metrics.json

`DIR` is as in ``alice_retrieval.py``, with the motion parameters of each listener
(``sNN-rp_*.txt``, six columns). They are regressed out of the regions together with the slow
cosines, over the whole run of the listener. What is written to ``--out`` has the same names.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

# the sibling file reads and compares the listeners
from alice_retrieval import filtered, random_phases, read_radii, report, segments
from checked_input import positive, read_numbers, same_length

from fastbrain._io import write_json
from fastbrain.errors import CohortError, FastbrainError


def main() -> None:
    """Read, compare, report."""
    args = _arguments()
    people, excluded = read_radii(args.data, args.radius)
    if args.noise is not None:
        rng = np.random.default_rng(args.noise)
        people = {name: random_phases(values, rng) for name, values in people.items()}
    brains = {name: segments(v) for name, v in without_motion(people, args.data).items()}
    metrics = report(brains, brains, args.derangements)
    metrics |= {"excluded": excluded, "noise": args.noise is not None, "motion_removed": True}
    print(json.dumps(metrics, indent=2))
    if args.out:
        write_json(args.out, metrics)


def without_motion(people: dict[str, np.ndarray], folder: Path) -> dict[str, np.ndarray]:
    """Filtered time courses (T, R) of all listeners, which must be equally long."""
    volumes = same_length(people, folder)
    return {
        name: filtered(values, read_motion(folder, name, volumes))
        for name, values in people.items()
    }


def read_motion(folder: Path, name: str, volumes: int) -> np.ndarray:
    """Motion parameters of the last volumes, standardised, (T, 6); the first were not kept."""
    files = sorted(folder.glob(f"{name}-rp*.txt"))
    values = np.empty((0, 0))
    if len(files) == 1:
        values = read_numbers(files[0], "alice")[-volumes:]
    if len(values) != volumes or not (np.ptp(values, axis=0) > 0).all():
        raise CohortError(
            f"alice: {folder} must hold one file {name}-rp*.txt of {volumes} rows or more whose "
            f"columns vary, got {len(files)} files and the last {len(values)} rows."
        )
    return (values - values.mean(axis=0)) / values.std(axis=0)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the listeners")
    parser.add_argument(
        "--radius", nargs="+", default=["10mm", "6mm"], help="folders; default 10mm 6mm"
    )
    parser.add_argument("--out", type=Path, help="JSON file for the metrics")
    parser.add_argument("--derangements", type=positive, default=1999, help="for p; default 1999")
    parser.add_argument("--noise", type=int, metavar="SEED", help="phase-randomised listeners")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        main()
    except FastbrainError as error:
        raise SystemExit(str(error)) from None
