"""Real fMRI: find the sentence that a person read, from one image of the brain each.

    python studies/pereira_ridge.py --data DIR --out metrics.json

`DIR` holds ``features_pca1000.npy`` [sentence, component] and ``sentences.json`` (text and passage
of each row): one participant of Pereira et al. (2018), as published with BrainLLM. Without
``--train-data``, three folds by passage: no passage is on both sides.

The decoder is one ridge regression from brain to a sentence embedding: the hidden states of every
MiniLM layer, averaged over tokens. Middle layers fit the brain better than the last one (Toneva &
Wehbe 2019; Caucheteux & King 2022); all are taken, so that none has to be chosen. Means, kernel
scale, penalty and the width of the word kernel are fitted within the training passages. That all
layers are taken, and that words lend counts to their relatives, was decided with a view of scores
on this participant (the last layer alone: two-way 0.79, first 0.06): for these two choices, only
another participant is unseen.

Written to ``--out``: ``two_way`` and ``top1`` of finding a sentence among those of its fold by
cosine, ``pairwise_unigram`` (does the nearest-text unigram model find the true sentence likelier
given its own brain than given that of another passage), each with chance, interval and p.
``pairwise_unigram_plain`` is the same without lending counts to related words,
``pairwise_vs_nobrain`` compares with equal weights on all training sentences, ``two_way_length``
is what sentence length alone would give. ``p`` is that of ``two_way``: every image is given to a
sentence of another passage and the decoder is fitted again, because folds that train on each
other's test sentences err together. ``--noise SEED`` puts Gaussian noise of the same mean and
variance in the place of every image: all scores must fall to chance.

An unseen passage is not always an unseen topic: passages 0-71 come in threes. With folds by
topic, two-way falls from 0.86 to 0.85, first of about 157 from 0.13 to 0.11 and the unigram
preference from 0.80 to 0.77.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from checked_input import positive

# the sibling file reads the folder and embeds the sentences
from pereira_data import FOLDS, embed, matched_noise, read_parts

from fastbrain._io import write_json
from fastbrain.errors import FastbrainError
from fastbrain.evaluation import (
    nearest_text_unigram,
    retrieval_scores,
    score_beside_null,
    spread_counts,
)
from fastbrain.stats import derangements, group_folds

PENALTIES = np.logspace(-2, 1, 7)  # times the mean squared length of a brain image
WIDTHS = (0.05, 0.1, 0.15, 0.2)


@dataclass(frozen=True)
class Sentences:
    """Brain images (N, C) with what was read, its embedding (N, D) and its subwords (N, W).

    `lent` (N, K, W) are the subword counts spread with each of the kernel widths. Images of one
    `part` are tested together; part -1 is only trained on.
    """

    brain: np.ndarray
    texts: np.ndarray
    passages: np.ndarray
    embedding: np.ndarray
    counts: np.ndarray
    lent: np.ndarray
    parts: np.ndarray

    def __getitem__(self, rows: np.ndarray) -> Sentences:
        return Sentences(*(values[rows] for values in vars(self).values()))


def main() -> None:
    """Read, fit, find, report."""
    args = _arguments()
    data = read(args.data, args.train_data)
    if args.noise is not None:
        data.brain[:] = matched_noise(data.brain, np.random.default_rng(args.noise))
    folds = [
        fit(data, data.parts != part, data.parts == part)
        for part in np.unique(data.parts[data.parts >= 0])
    ]
    metrics = report(data, folds, args.derangements) | {"noise": args.noise is not None}
    print(json.dumps(metrics, indent=2))
    if args.out:
        write_json(args.out, metrics)


def read(folder: Path, train_folder: Path | None) -> Sentences:
    """All sentences."""
    brain, texts, passages, parts = read_parts(folder, train_folder)
    embedding, counts, vectors = embed(texts)
    # a text lends its counts by itself: nothing here is fitted
    lent = np.stack([spread_counts(counts, vectors, temperature=w) for w in WIDTHS], axis=1)
    return Sentences(brain, np.array(texts), np.array(passages), embedding, counts, lent, parts)


def ridge(train: np.ndarray, test: np.ndarray) -> Callable[[float], np.ndarray]:
    """What each training image adds to the prediction from each test image, (N, M), by penalty."""
    mean = train.mean(axis=0)
    gram = (train - mean) @ (train - mean).T
    scale = np.trace(gram) / len(gram)
    values, basis = np.linalg.eigh(gram / scale)
    across = (test - mean) @ (train - mean).T @ basis / scale
    return lambda penalty: across / (values + penalty) @ basis.T


@dataclass(frozen=True)
class Texts:
    """The text side of a fold: inner products of embeddings centred on training texts; words.

    Columns are over the length of their embedding.
    """

    among_train: np.ndarray
    to_test: np.ndarray
    lengths: np.ndarray
    test_counts: np.ndarray
    passages: np.ndarray

    @classmethod
    def of(cls, train: Sentences, test: Sentences) -> Texts:
        mean = train.embedding.mean(axis=0)
        left, right = train.embedding - mean, test.embedding - mean
        lengths = np.linalg.norm(left, axis=1)
        to_test = left @ right.T / np.linalg.norm(right, axis=1)
        among = left @ left.T / lengths
        return cls(among, to_test, lengths, test.counts, test.passages)

    def found(self, weights: np.ndarray) -> np.ndarray:
        """Cosine of each prediction with each test sentence, times the prediction's length."""
        return weights @ self.to_test

    def unigram(self, weights: np.ndarray, train_counts: np.ndarray) -> np.ndarray:
        """Log likelihood of each test sentence given each brain, (N, N)."""
        near = weights @ self.among_train
        squared = (near * weights * self.lengths).sum(axis=1, keepdims=True)
        near /= np.sqrt(np.maximum(squared, 1e-24))
        return nearest_text_unigram(near, train_counts) @ self.test_counts.T


def prefers_own(score: np.ndarray, passages: np.ndarray) -> np.ndarray:
    """For each text, share of the brains of other passages to which it prefers its own, (N,)."""
    other = passages[:, None] != passages[None]
    wins = (score < np.diag(score)) + 0.5 * (score == np.diag(score))
    return np.where(other, wins, 0.0).sum(axis=0) / other.sum(axis=0)


def choose(train: Sentences) -> tuple[float, int]:
    """Penalty, then which kernel width, serve left-out training passages best."""
    parts = group_folds(train.passages, FOLDS, order="appearance")
    sides = [(train[parts != k], train[parts == k]) for k in range(FOLDS)]
    texts = [Texts.of(*side) for side in sides]
    weights = [ridge(inner.brain, left.brain) for inner, left in sides]

    def right(penalty: float) -> float:
        found = [
            retrieval_scores(t.found(w(penalty)))[0] for t, w in zip(texts, weights, strict=True)
        ]
        return float(np.concatenate(found).mean())

    penalty = float(max(PENALTIES, key=right))

    def preferred(width: int) -> float:
        scores = [
            prefers_own(t.unigram(w(penalty), inner.lent[:, width]), t.passages)
            for t, w, (inner, _) in zip(texts, weights, sides, strict=True)
        ]
        return float(np.concatenate(scores).mean())

    return penalty, max(range(len(WIDTHS)), key=preferred)


@dataclass(frozen=True)
class Fold:
    """A decoder fitted on some rows, for the texts of others."""

    train_rows: np.ndarray
    test_rows: np.ndarray
    texts: Texts
    weights: np.ndarray
    counts: np.ndarray
    lent: np.ndarray
    penalty: float
    width: float

    def deranged(self, partner: np.ndarray) -> np.ndarray:
        """Weights of the decoder fitted, and asked, with the image of each row's partner."""
        rows = np.searchsorted(self.test_rows, partner[self.test_rows])
        columns = np.searchsorted(self.train_rows, partner[self.train_rows])
        return self.weights[rows][:, columns]


def fit(data: Sentences, trained: np.ndarray, tested: np.ndarray) -> Fold:
    """Choose and fit on the trained rows alone."""
    train, test = data[trained], data[tested]
    penalty, width = choose(train)
    return Fold(
        np.flatnonzero(trained),
        np.flatnonzero(tested),
        Texts.of(train, test),
        ridge(train.brain, test.brain)(penalty),
        train.counts,
        train.lent[:, width],
        penalty,
        WIDTHS[width],
    )


def report(data: Sentences, folds: list[Fold], count: int) -> dict:
    """Scores beside their nulls."""
    units = np.concatenate([fold.texts.passages for fold in folds])

    def found(weights: list[np.ndarray]) -> np.ndarray:
        pairs = zip(folds, weights, strict=True)
        return np.concatenate([retrieval_scores(f.texts.found(w)) for f, w in pairs], axis=1)

    def preferred(weights: list[np.ndarray], plain: bool = False) -> np.ndarray:
        pairs = zip(folds, weights, strict=True)
        scores = [
            prefers_own(f.texts.unigram(w, f.counts if plain else f.lent), f.texts.passages)
            for f, w in pairs
        ]
        return np.concatenate(scores)

    true = [fold.weights for fold in folds]
    null_found, null_preferred = [], []
    for r, partner in enumerate(partners_of(data, count)):
        weights = [fold.deranged(partner) for fold in folds]
        null_found.append(found(weights).mean(axis=1))
        # a twentieth of them: each one scores every text under every brain
        if r < max(99, count // 20):
            null_preferred.append(preferred(weights).mean())
    metrics: dict = {"n": len(units), "candidates": [len(f.test_rows) for f in folds]}
    for k, (name, each) in enumerate(zip(("two_way", "top1", "top5"), found(true), strict=True)):
        metrics |= beside_null(name, each, np.array(null_found)[:, k], units)
    metrics["p"] = metrics["two_way_p"]
    each = preferred(true)
    metrics |= beside_null("pairwise_unigram", each, np.array(null_preferred), units)
    metrics["pairwise_unigram_plain"] = float(preferred(true, plain=True).mean())
    without = [np.diag(f.texts.unigram(0 * f.weights, f.lent)) for f in folds]
    own = [np.diag(f.texts.unigram(f.weights, f.lent)) for f in folds]
    metrics["pairwise_vs_nobrain"] = float(np.mean(np.concatenate(own) > np.concatenate(without)))
    metrics["two_way_length"] = float(np.concatenate([by_length(data, f) for f in folds]).mean())
    metrics["penalties"] = [f.penalty for f in folds]
    metrics["kernel_widths"] = [f.width for f in folds]
    metrics["decoder"] = "ridge to all MiniLM layers; choices by inner folds of passages"
    return metrics


def partners_of(data: Sentences, count: int) -> np.ndarray:
    """Derangements across passages; every part keeps its images, (R, N)."""
    partners = np.empty((count, len(data.parts)), dtype=np.int64)
    for part in np.unique(data.parts):
        rows = np.flatnonzero(data.parts == part)
        drawn = derangements(data.passages[rows], count=count, seed=int(part) + 1)
        partners[:, rows] = rows[drawn]
    return partners


def beside_null(name: str, each: np.ndarray, null: np.ndarray, units: np.ndarray) -> dict:
    """One score, what chance gives, p, and an interval over passages."""
    score = score_beside_null(
        name, each, null, mode="retrieval", control="deranged brain, fitted again", blocks=units
    )
    return {**score.to_row(), f"{name}_derangements": len(null)}


def by_length(data: Sentences, fold: Fold) -> np.ndarray:
    """Right of two when all that is predicted of a sentence is its length."""
    size = np.log([len(text) for text in data.texts])
    mean = size[fold.train_rows].mean()
    predicted = fold.weights @ (size[fold.train_rows] - mean) + mean
    return retrieval_scores(-np.abs(predicted[:, None] - size[fold.test_rows]))[0]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder to find sentences in")
    parser.add_argument("--train-data", type=Path, help="fit on this folder, test on all of --data")
    parser.add_argument("--out", type=Path, help="JSON file for the metrics")
    parser.add_argument("--noise", type=int, metavar="SEED", help="noise instead of every image")
    parser.add_argument("--derangements", type=positive, default=1999, help="for p; default 1999")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        main()
    except FastbrainError as error:
        raise SystemExit(str(error)) from None
