"""Real fMRI: find which 20 seconds of a story a person heard, from the words alone.

    python studies/alice_words.py --data DIR --out metrics.json

`DIR` is as in ``alice_retrieval.py``, with the word timings below ``stim/`` (Brennan et al. 2016).
A ridge regression predicts the mean response of the other listeners in each region from the words
heard 2 to 10 s before, and a segment is found among the predicted responses to all segments, in
the whitened space of ``alice_retrieval.py``. No brain is among the candidates. Two kinds of
features, each alone:

- ``words``: number of words, seconds of speech and letters in each volume;
- ``embedding``: MiniLM's embedding of the last 20 s of words, by its leading components.

Regression, its penalty (on left-out blocks of the training part), scaling, components and
whitening have seen neither the listener (or half) tested nor the two segments compared, their
blocks and guards. For ``p`` the responses of all listeners are shifted together against the words
by 1 to 35 segments (``--shifts``: by some of these numbers), and everything is fitted again: p is
1/36 at best. ``--noise SEED`` randomises the phases of each listener: all scores must fall to
chance.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

# the sibling files read and compare the listeners
from alice_retrieval import (
    BLOCK,
    LEFT_OUT,
    TR,
    VOLUMES,
    beside,
    company,
    comparisons,
    filtered,
    random_phases,
    ranks,
    read_radii,
    segments,
    whitening,
)
from checked_input import positive, same_length

from fastbrain._io import write_json
from fastbrain._progress import say
from fastbrain.data import Word, read_words, texts_between, word_rates
from fastbrain.errors import CohortError, FastbrainError
from fastbrain.evaluation.metrics.bertscore import default_bert
from fastbrain.lm.sentence_embeddings import sentence_embeddings
from fastbrain.stats import bootstrap_interval, fit_ridge

LAGS = range(1, 6)  # volumes from words to response
COMPONENTS = 10  # of the embedding
PENALTIES = (0.01, 0.1, 1.0)
SILENCE_S = 20.0  # of the recording before the first volume that was kept
Designs = list[tuple[np.ndarray, np.ndarray]]


def main() -> None:
    """Read, predict, compare, report."""
    args = _arguments()
    people, excluded = read_radii(args.data, args.radius)
    volumes = same_length(people, args.data)
    if args.noise is not None:
        rng = np.random.default_rng(args.noise)
        people = {name: random_phases(values, rng) for name, values in people.items()}
    brains = {name: filtered(values) for name, values in people.items()}
    model = comparisons(volumes // VOLUMES)
    metrics: dict[str, Any] = {"n": volumes // VOLUMES, "listeners": len(brains)}
    for kind, values in features(args.data, volumes).items():
        metrics |= report(brains, designs(values, model[0]), model, args.shifts, kind)
        say(f"alice: segments are found by {kind}")
    metrics |= {"left_out": LEFT_OUT, "excluded": excluded, "noise": args.noise is not None}
    print(json.dumps(metrics, indent=2))
    if args.out:
        write_json(args.out, metrics)


def read_story(folder: Path) -> list[Word]:
    """Words with their times in the recording."""
    grids = sorted((folder / "stim").glob("*.TextGrid"))
    if len(grids) != 1:
        raise CohortError(f"alice: {folder}/stim must hold one TextGrid, got {len(grids)}.")
    return read_words(grids[0])


def features(folder: Path, volumes: int) -> dict[str, np.ndarray]:
    """Of the words heard during each volume, and in the 20 s before its end, (T, F)."""
    words, after = read_story(folder), np.arange(volumes) + 1
    texts = texts_between(words, (after - VOLUMES) * TR, after * TR, onset_s=-SILENCE_S)
    heard = [i for i, text in enumerate(texts) if text]
    known = sentence_embeddings([texts[i].lower() for i in heard], default_bert()[0])[:, -1]
    embedding = np.zeros((volumes, known.shape[1]))  # where nothing was said
    embedding[heard] = known
    rates = word_rates(words, tr=TR, n_volumes=volumes, onset_s=-SILENCE_S)
    return {"words": rates, "embedding": embedding}


def designs(values: np.ndarray, train: np.ndarray) -> Designs:
    """Volumes that train, and lagged features (T, F) scaled by them, for each pair of blocks."""
    made = []
    segment = np.arange(len(values)) // VOLUMES
    for row in train:
        may = np.isin(segment, np.flatnonzero(row))
        scaled = values - values[may].mean(axis=0)
        if values.shape[1] > COMPONENTS:
            scaled = scaled @ np.linalg.svd(scaled[may], full_matrices=False)[2][:COMPONENTS].T
        else:
            scaled = scaled / scaled[may].std(axis=0)
        lagged = [np.pad(scaled, ((lag, 0), (0, 0)))[: len(scaled)] for lag in LAGS]
        made.append((may, np.hstack(lagged)))
    return made


def found(
    brains: dict[str, np.ndarray], tested: list[str], design: Designs, model: tuple
) -> np.ndarray:
    """Mean of those tested, among segments predicted from the others, (3, N)."""
    train, held, which = model
    others = company(brains, tested)
    learned = np.mean(others, axis=0)
    metrics = whitening([segments(values) for values in others], train)
    query = segments(np.mean([brains[name] for name in tested], axis=0))
    similar = np.zeros((len(train), len(query), len(query)))
    block = np.arange(len(learned)) // (VOLUMES * BLOCK)
    for pair, (metric, (may, x)) in enumerate(zip(metrics, design, strict=True)):
        ridge = fit_ridge(
            x[may], learned[may], groups=block[may].tolist(), penalties=PENALTIES, folds=3
        )
        at = np.flatnonzero(held[pair])
        candidates = segments(ridge.predict(x))[at]
        white = candidates @ metric
        lengths = np.sqrt((white * candidates).sum(axis=(1, 2)))
        products = np.tensordot(query[at], white, axes=[(1, 2), (1, 2)])
        similar[pair][np.ix_(at, at)] = products / lengths
    return ranks(similar, which)


def report(
    brains: dict[str, np.ndarray], design: Designs, model: tuple, count: int, kind: str
) -> dict[str, Any]:
    """Scores beside their nulls."""
    half = list(brains)[::2]
    steps = np.random.default_rng(0).permutation(np.arange(1, len(model[2])))[:count]
    singles, halves = [], []
    for step in (0, *steps):
        moved = {name: np.roll(v, step * VOLUMES, axis=0) for name, v in brains.items()}
        singles.append([found(moved, [name], design, model) for name in moved])
        halves.append(found(moved, half, design, model))
    one, two = np.array(singles), np.array(halves)
    each = one[0, :, 0].mean(axis=1)
    metrics = beside(one[0], one[1:].mean(axis=(1, 3)), f"_{kind}")
    metrics[f"two_way_{kind}_ci_listeners"] = bootstrap_interval(each).as_list()
    metrics |= beside(two[:1], two[1:].mean(axis=2), f"_{kind}_group")
    return metrics | {"n_shifts": len(steps)}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of listeners and stim/")
    parser.add_argument(
        "--radius", nargs="+", default=["10mm", "6mm"], help="folders; default 10mm 6mm"
    )
    parser.add_argument("--out", type=Path, help="JSON file for the metrics")
    parser.add_argument("--shifts", type=positive, default=35, help="for p; default all of 35")
    parser.add_argument("--noise", type=int, metavar="SEED", help="phase-randomised listeners")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        main()
    except FastbrainError as error:
        raise SystemExit(str(error)) from None
