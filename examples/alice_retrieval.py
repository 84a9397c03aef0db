"""Real fMRI: find which 20 seconds of a story a person heard, by how others' brains went.

    python examples/alice_retrieval.py --data DIR --out metrics.json

`DIR` holds ``6mm/sNN-timecourses.txt`` (volumes × 6 language regions, TR 2 s) of people who
listened to chapter 1 of Alice in Wonderland (Brennan et al. 2016). Each region is high-pass
filtered at 128 s and standardised within its listener; a segment is 10 volumes of all regions.
A segment of one listener is compared, by Pearson correlation, with every segment of the mean of
the other listeners. Nothing is fitted. ``--query-data`` takes the query listeners from another
folder of the same form and compares them with the mean of everybody in ``--data``.

Written to ``--out``: ``two_way`` and ``top1`` of one listener (mean over listeners), and
``two_way_group`` and ``top1_group`` of the mean of every second query listener against the mean of
all other people. ``p`` (of ``two_way``) shifts each listener in time by a different number of
segments and compares all over again: no two people then hear the same words, the autocorrelation
of each stays, and so does what follows from everybody being query and company in turn. ``--noise
SEED`` randomises the phases of each query listener: all scores must fall to chance.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from fastbrain._io import write_json
from fastbrain.errors import CohortError, FastbrainError
from fastbrain.evaluation import correlations, retrieval, retrieval_scores
from fastbrain.stats import bootstrap_interval, permutation_p

TR = 2.0
KS = (1, 5)
SCORES = ("two_way", "top1", "top5")
VOLUMES = 10  # 20 s
CUTOFF_S = 128.0


def main() -> None:
    """Read, compare, report."""
    args = _arguments()
    people, excluded = read_listeners(args.data / args.radius)
    queries, more = (
        (people, {}) if not args.query_data else read_listeners(args.query_data / args.radius)
    )
    excluded |= more
    for name, why in excluded.items():
        print(f"alice: listener {name} is left out: {why}", file=sys.stderr)
    shapes = {values.shape for values in [*people.values(), *queries.values()]}
    if len(shapes) != 1:
        raise CohortError(
            f"alice: all listeners must have as many volumes and regions, got {sorted(shapes)}."
        )
    if args.query_data:
        people = {
            name: values
            for name, values in people.items()
            if not any(np.array_equal(values, query) for query in queries.values())
        }
    if args.noise is not None:
        rng = np.random.default_rng(args.noise)
        same = queries is people
        queries = {name: random_phases(values, rng) for name, values in queries.items()}
        people = queries if same else people
    metrics = report(
        {name: segments(filtered(values)) for name, values in people.items()},
        {name: segments(filtered(values)) for name, values in queries.items()},
        args.derangements,
    )
    metrics |= {"excluded": excluded, "noise": args.noise is not None}
    print(json.dumps(metrics, indent=2))
    if args.out:
        write_json(args.out, metrics)


def read_listeners(folder: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Time courses of each listener, and why others are left out."""
    files = sorted(folder.glob("*-timecourses.txt"))
    if not files:
        raise CohortError(f"alice: {folder} must hold *-timecourses.txt, got none.")
    kept, excluded = {}, {}
    for file in files:
        name = file.name.removesuffix("-timecourses.txt")
        values = np.loadtxt(file, ndmin=2)
        flat = ~(np.ptp(values, axis=0) > 0)
        if not np.isfinite(values).all():
            excluded[name] = "values are not finite"
        elif flat.any():
            excluded[name] = f"{flat.sum()} of {len(flat)} regions never change"
        elif len(values) < 3 * VOLUMES:
            excluded[name] = f"{len(values)} volumes are fewer than three segments"
        else:
            kept[name] = values
    if not kept:
        raise CohortError(f"alice: {folder} must hold a usable listener, got {excluded}.")
    return kept, excluded


def filtered(values: np.ndarray) -> np.ndarray:
    """High-pass by cosines, as SPM does, then standardise each region."""
    n = len(values)
    order = int(2 * n * TR / CUTOFF_S)
    slow = np.cos(np.pi * np.outer(np.arange(n) + 0.5, np.arange(order + 1)) / n)
    fast = values - slow @ np.linalg.lstsq(slow, values, rcond=None)[0]
    return (fast - fast.mean(axis=0)) / fast.std(axis=0)


def random_phases(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Noise with the spectrum of each region and the correlation between regions."""
    spectrum = np.fft.rfft(values - values.mean(axis=0), axis=0)
    phases = np.exp(2j * np.pi * rng.random((len(spectrum), 1)))
    phases[0] = 1
    if len(values) % 2 == 0:
        phases[-1] = rng.choice([-1.0, 1.0])
    return values.mean(axis=0) + np.fft.irfft(spectrum * phases, n=len(values), axis=0)


def segments(values: np.ndarray) -> np.ndarray:
    """Segments that do not overlap, (N, VOLUMES·regions)."""
    count = len(values) // VOLUMES
    return values[: count * VOLUMES].reshape(count, -1)


def one_by_one(people: dict[str, np.ndarray], queries: dict[str, np.ndarray]) -> np.ndarray:
    """Right of two, first, among five: each segment of each query listener, (L, 3, N)."""
    scores = []
    for name, values in queries.items():
        others = [v for other, v in people.items() if other != name]
        if not others:
            raise CohortError(f"alice: {name} must be compared with others, got nobody else.")
        scores.append(retrieval_scores(correlations(values, np.mean(others, axis=0)), ks=KS))
    return np.array(scores)


def report(
    people: dict[str, np.ndarray], queries: dict[str, np.ndarray], count: int
) -> dict[str, Any]:
    """Scores beside their nulls."""
    scores = one_by_one(people, queries)
    null = null_scores(people, queries, count)
    metrics: dict[str, Any] = {"n": scores.shape[2], "listeners": len(queries)}
    for row, name in enumerate(SCORES):
        each = scores[:, row].mean(axis=0)  # listeners of one segment heard the same words
        metrics |= {
            name: float(each.mean()),
            f"{name}_chance": float(null[:, row].mean()),
            f"{name}_p": permutation_p(each.mean(), null[:, row]),
            f"{name}_ci": bootstrap_interval(each).as_list(),
        }
    metrics |= {"p": metrics["two_way_p"], "n_shifts": count}
    metrics["two_way_each"] = dict(zip(queries, scores[:, 0].mean(axis=1).tolist(), strict=True))
    half = list(queries)[::2]
    rest = [values for name, values in people.items() if name not in half]
    if rest:
        group = np.mean([queries[name] for name in half], axis=0)
        found = retrieval(
            correlations(group, np.mean(rest, axis=0)), range(len(group)), ks=KS, count=count
        )
        for name, score in zip(SCORES, (found.two_way, *found.top.values()), strict=True):
            key = f"{name}_group"
            metrics |= {key: score.value, f"{key}_chance": score.chance, f"{key}_p": score.p}
            metrics[f"{key}_ci"] = score.interval.as_list()
        metrics["listeners_group"] = [len(half), len(rest)]
    return metrics


def null_scores(
    people: dict[str, np.ndarray], queries: dict[str, np.ndarray], count: int
) -> np.ndarray:
    """Mean scores when no two listeners are in step, (R, 3)."""
    rng = np.random.default_rng(0)
    steps = len(next(iter(queries.values())))
    null = []
    for _ in range(count):
        # company from elsewhere stays in place, so that no query may
        own = queries is people
        drawn = rng.choice(
            steps if own else np.arange(1, steps), len(queries), len(queries) >= steps
        )
        moved = {
            name: np.roll(values, shift, axis=0)
            for (name, values), shift in zip(queries.items(), drawn, strict=True)
        }
        null.append(one_by_one(moved if own else people, moved).mean(axis=(0, 2)))
    return np.array(null)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the listeners")
    parser.add_argument("--query-data", type=Path, help="folder of the query listeners")
    parser.add_argument("--radius", default="6mm", help="folder of the time courses; default 6mm")
    parser.add_argument("--out", type=Path, help="JSON file for the metrics")
    parser.add_argument("--derangements", type=int, default=1999, help="for p; default 1999")
    parser.add_argument("--noise", type=int, metavar="SEED", help="phase-randomised listeners")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        main()
    except FastbrainError as error:
        raise SystemExit(str(error)) from None
