"""Real fMRI: find which 20 seconds of a story a person heard, by how others' brains went.

    python studies/alice_retrieval.py --data DIR --out metrics.json

`DIR` holds ``6mm/sNN-timecourses.txt`` and the like (volumes × 6 language regions, TR 2 s) of
people who listened to chapter 1 of Alice in Wonderland (Brennan et al. 2016). Each region, of
every radius, is high-pass filtered at 128 s and standardised within its listener; the response to
a segment of 20 s is the 12 volumes from 4 s to 28 s after it begins. A segment of one listener
is compared with those of the mean of the other listeners, by the cosine after whitening with the
covariance of regions across listeners (by how much people differ in the same segment).

That covariance is all that is fitted, anew for each choice between two segments. Left out are the
listener (or half) tested, both segments, their blocks of three, and two segments (40 s) on either
side of the blocks. Shrinkage, window and radii are constants, set with knowledge of these scores.
Filter and standardisation see the whole run of their own listener. ``--query-data`` takes the query
listeners from another folder and compares them with the mean of everybody in ``--data``.

Written to ``--out``: ``two_way``, ``top1`` and ``top5`` of one listener (mean over listeners),
``_group`` of the mean of every second query listener against the mean of all other people,
``two_way_halves`` the mean over random halves (``_range``: of 95 %), ``_unfitted`` unwhitened.
``_ci`` is over segments, ``two_way_ci_listeners`` over listeners. ``p`` (of ``two_way``) shifts
each listener in time by a different number of segments, fits and compares all over: no two people
then hear the same words, the autocorrelation of each stays, and so does what follows from everybody
being query and company in turn. ``--noise SEED`` randomises the phases of each query listener: all
scores must fall to chance.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from checked_input import positive, read_numbers

from fastbrain._io import write_json
from fastbrain.errors import CohortError, FastbrainError
from fastbrain.evaluation import score_beside_null
from fastbrain.stats import bootstrap_interval

TR = 2.0
KS = (1, 5)
SCORES = ("two_way", "top1", "top5")
VOLUMES = 10  # 20 s
RESPONSE = range(2, 14)  # volumes after the first of a segment: delays of 3 to 9 s, words of 20 s
BLOCK, GUARD = 3, 2  # segments; the guard is longer than a response and the words it follows
LEFT_OUT = (
    f"the listener or half tested; both segments compared, their blocks of {BLOCK} and {GUARD} "
    "segments on either side of each block, for the query and for all others"
)
SHRINKAGE = 0.1  # of the covariance towards the identity
HALVES = 100
CUTOFF_S = 128.0


def main() -> None:
    """Read, compare, report."""
    args = _arguments()
    found = [{f.name for f in (d or args.data).glob("*mm")} for d in (args.data, args.query_data)]
    radii = args.radius or sorted(set.intersection(*found))
    people, excluded = read_radii(args.data, radii)
    queries, more = (people, {}) if not args.query_data else read_radii(args.query_data, radii)
    excluded |= more
    for name, why in excluded.items():
        print(f"alice: listener {name} is left out: {why}", file=sys.stderr)
    shapes = {values.shape for values in [*people.values(), *queries.values()]}
    if len(shapes) != 1:
        raise CohortError(
            f"alice: all listeners must have as many volumes and regions, got {sorted(shapes)}."
        )
    if args.query_data:
        known = [query.tobytes() for query in queries.values()]
        people = {name: v for name, v in people.items() if v.tobytes() not in known}
    if args.noise is not None:
        rng = np.random.default_rng(args.noise)
        noise = {name: random_phases(values, rng) for name, values in queries.items()}
        people, queries = noise if queries is people else people, noise
    heard = {name: segments(filtered(values)) for name, values in people.items()}
    if queries is not people:
        own = {name: segments(filtered(values)) for name, values in queries.items()}
    metrics = report(heard, heard if queries is people else own, args.derangements)
    metrics |= {"excluded": excluded, "noise": args.noise is not None, "radii": radii}
    print(json.dumps(metrics, indent=2))
    if args.out:
        write_json(args.out, metrics)


def read_radii(folder: Path, radii: list[str]) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Regions of every radius side by side; a listener must be usable at each."""
    if not radii:
        raise CohortError(f"alice: {folder} must hold folders named like 6mm, got none.")
    read = [read_listeners(folder / radius) for radius in radii]
    excluded = {name: why for _, left in read for name, why in left.items()}
    people = {}
    for name in read[0][0]:
        values = [kept[name] for kept, _ in read if name in kept]
        if len({len(v) for v in values}) > 1:
            excluded[name] = "radii differ in their number of volumes"
        elif len(values) == len(read):
            people[name] = np.hstack(values)
    if not people:
        raise CohortError(f"alice: {folder} must hold a listener usable at {radii}, got none.")
    return people, excluded


def read_listeners(folder: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Time courses of each listener, and why others are left out."""
    files = sorted(folder.glob("*-timecourses.txt"))
    if not files:
        raise CohortError(f"alice: {folder} must hold *-timecourses.txt, got none.")
    kept, excluded = {}, {}
    for file in files:
        name = file.name.removesuffix("-timecourses.txt")
        values = read_numbers(file, "alice")
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


def filtered(values: np.ndarray, nuisance: np.ndarray | None = None) -> np.ndarray:
    """Take cosines, as SPM does, and nuisances (T, K) out, then standardise each region."""
    n = len(values)
    order = int(2 * n * TR / CUTOFF_S)
    slow = np.cos(np.pi * np.outer(np.arange(n) + 0.5, np.arange(order + 1)) / n)
    slow = slow if nuisance is None else np.hstack([slow, nuisance])
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
    """Responses to segments that do not overlap, (N, len(RESPONSE), regions); 0 after the end."""
    starts = np.arange(len(values) // VOLUMES) * VOLUMES
    longer = np.concatenate([values, np.zeros((RESPONSE.stop, values.shape[1]))])
    return longer[starts[:, None] + np.array(RESPONSE)]


def comparisons(count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What trains and is tested with each pair of blocks, (P, N), and the pair of two, (N, N)."""
    block = np.arange(count) // BLOCK
    pairs = list(itertools.combinations_with_replacement(range(block[-1] + 1), 2))
    tested = np.array([np.isin(block, pair) for pair in pairs])
    away = np.abs(np.arange(count)[:, None] - np.arange(count))
    train = np.array([away[:, row].min(axis=1) > GUARD for row in tested])
    if (train.sum(axis=1) < BLOCK).any():
        raise CohortError(f"alice: {count} segments are too few to leave two blocks out.")
    table = {pair: i for i, pair in enumerate(pairs)}
    which = [[table[min(a, b), max(a, b)] for b in block] for a in block]
    return train, tested, np.array(which)


def whitening(
    others: list[np.ndarray], train: np.ndarray, shrinkage: float = SHRINKAGE
) -> np.ndarray:
    """Inverse covariance of regions across listeners in the training segments, (P, R, R)."""
    total = np.sum(others, axis=0)
    moment = sum(x.swapaxes(1, 2) @ x for x in others)
    within = moment - total.swapaxes(1, 2) @ total / len(others)  # (N, R, R)
    scatter = np.tensordot(train.astype(float), within, axes=1)
    regions = scatter.shape[1]
    scatter /= np.trace(scatter, axis1=1, axis2=2)[:, None, None] / regions
    return np.linalg.inv((1 - shrinkage) * scatter + shrinkage * np.eye(regions))


def ranks(similar: np.ndarray, which: np.ndarray) -> np.ndarray:
    """Right of two, first, among five, (3, N), each choice of two by its own pair of blocks."""
    at = np.arange(len(which))
    other, own = similar[which, at[:, None], at], similar[which, at[:, None], at[:, None]]
    lost = ((other > own) + 0.5 * (other == own)).sum(axis=1) - 0.5  # but not to itself
    return np.stack([1 - lost / (len(at) - 1), *(lost < k for k in KS)])


def compare(
    people: dict, queries: dict, tested: list[list[str]], model: tuple, shrinkage: float = SHRINKAGE
) -> np.ndarray:
    """Mean of those tested with the mean of all others, by whitened cosine, (L, 3, N)."""
    train, _, which = model
    scores = []
    for names in tested:
        query = np.mean([queries[name] for name in names], axis=0)
        others = company(people, names)
        mean, metric = np.mean(others, axis=0), whitening(others, train, shrinkage)
        flat = metric.reshape(len(metric), -1)
        cross = np.einsum("itd,jte->deij", query, mean, optimize=True)
        own = np.einsum("jtd,jte->dej", mean, mean, optimize=True).reshape(flat.shape[1], -1)
        products = (flat @ cross.reshape(flat.shape[1], -1)).reshape(-1, *which.shape)
        # the length of the query is the same for all candidates
        scores.append(ranks(products / np.sqrt(flat @ own)[:, None], which))
    return np.array(scores)


def company(people: dict[str, np.ndarray], tested: list[str]) -> list[np.ndarray]:
    """Everybody but those who are tested."""
    others = [values for name, values in people.items() if name not in tested]
    if len(others) < 2:
        raise CohortError(f"alice: {tested} must be compared with two or more, got {len(others)}.")
    return others


def report(people: dict, queries: dict, count: int) -> dict[str, Any]:
    """Scores beside their nulls."""
    model = comparisons(len(next(iter(queries.values()))))
    singles, half = [[name] for name in queries], list(queries)[::2]
    rest = [name for name in people if name not in half]
    halves = [half] if len(rest) > 1 else []
    scores = compare(people, queries, singles, model)
    null = null_scores(people, queries, [singles, *([halves] if halves else [])], model, count)
    metrics = {"n": scores.shape[2], "listeners": len(queries), **beside(scores, null[:, 0], "")}
    metrics |= {"p": metrics["two_way_p"], "n_shifts": count, "left_out": LEFT_OUT}
    metrics["two_way_unfitted"] = float(compare(people, queries, singles, model, 1.0)[:, 0].mean())
    each = scores[:, 0].mean(axis=1)
    metrics["two_way_each"] = dict(zip(queries, each.tolist(), strict=True))
    if len(each) > 1:
        metrics["two_way_ci_listeners"] = bootstrap_interval(each).as_list()
    if halves:
        metrics |= beside(compare(people, queries, halves, model), null[:, 1], "_group")
        raw = compare(people, queries, halves, model, 1.0)[:, 0].mean()
        rng = np.random.default_rng(0)
        drawn = [list(rng.permutation(list(queries))[: len(half)]) for _ in range(HALVES)]
        each = compare(people, queries, drawn, model)[:, 0].mean(axis=1)
        metrics |= {"two_way_group_unfitted": float(raw), "two_way_halves": float(each.mean())}
        metrics["two_way_halves_range"] = np.quantile(each, [0.025, 0.975]).tolist()
        metrics |= {"n_halves": HALVES, "listeners_group": [len(half), len(rest)]}
    return metrics


def beside(scores: np.ndarray, null: np.ndarray, suffix: str) -> dict[str, Any]:
    """Scores (L, 3, N) with chance, p and interval from null (R, 3)."""
    metrics: dict[str, Any] = {}
    for row, name in enumerate(SCORES):
        each = scores[:, row].mean(axis=0)  # listeners of one segment heard the same words
        metrics |= score_beside_null(
            f"{name}{suffix}", each, null[:, row], mode="retrieval", control="listeners out of step"
        ).to_row()
    return metrics


def null_scores(
    people: dict, queries: dict, kinds: list[list[list[str]]], model: tuple, count: int
) -> np.ndarray:
    """Mean scores of each kind of query when no two listeners are in step, (R, kinds, 3)."""
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
        others = moved if own else people
        null.append([compare(others, moved, k, model).mean(axis=(0, 2)) for k in kinds])
    return np.array(null)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the listeners")
    parser.add_argument("--query-data", type=Path, help="folder of the query listeners")
    parser.add_argument("--radius", nargs="+", help="folders of the time courses; default all")
    parser.add_argument("--out", type=Path, help="JSON file for the metrics")
    parser.add_argument("--derangements", type=positive, default=1999, help="for p; default 1999")
    parser.add_argument("--noise", type=int, metavar="SEED", help="phase-randomised listeners")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        main()
    except FastbrainError as error:
        raise SystemExit(str(error)) from None
