"""How well other read-outs than the plain ridge identify the sentence that was read.

    python benchmarks/systems/sentence_readouts.py --data DIR [--folds 5] [--machine NAME]

`DIR` is as in ``studies/pereira_ridge.py``. Folds are by passage. Every penalty is chosen on
training passages, for each read-out anew, and whatever a read-out learns beside it, it learns from
training images and texts. A row for each, with its difference from the plain ridge.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.decomposition import KernelPCA
from sklearn.preprocessing import StandardScaler, normalize

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2] / "studies"))
from pereira_data import matched_noise, read_folder
from recording import Recorder

from fastbrain.decoding.sentences.readout import SentenceReadout, fit_sentence_readout
from fastbrain.evaluation.metrics.bertscore import default_bert
from fastbrain.lm.sentence_embeddings import SentenceEncoder
from fastbrain.stats import bootstrap_interval, group_folds
from fastbrain.stats.unit_rows import unit_rows

Images = tuple[np.ndarray, np.ndarray]  # of training and of test sentences
Liken = Callable[[SentenceReadout, np.ndarray, np.ndarray], np.ndarray]
PLAIN = "ridge, all layers"
NEIGHBOURS = 10


class Remembering(SentenceEncoder):
    """Embeds each text once, for all read-outs."""

    def remember(self, texts: Sequence[str]) -> None:
        self.known = dict(zip(texts, super().layers(texts), strict=True))

    def layers(self, texts: Sequence[str]) -> np.ndarray:
        return np.stack([self.known[text] for text in texts])


def plain(train: np.ndarray, test: np.ndarray) -> Images:
    return train, test


def standardised(train: np.ndarray, test: np.ndarray) -> Images:
    scaler = StandardScaler().fit(train)
    return scaler.transform(train), scaler.transform(test)


def of_length_one(train: np.ndarray, test: np.ndarray) -> Images:
    mean = train.mean(axis=0)
    return normalize(train - mean), normalize(test - mean)


def kernel(name: str, width: float = 1.0) -> Callable[..., Images]:
    """Kernel ridge is a ridge on the coordinates of kernel PCA; `width` in mean distances."""

    def mapped(train: np.ndarray, test: np.ndarray) -> Images:
        centred = train - train.mean(axis=0)
        scale = (centred**2).sum(axis=1).mean() * (2 if name == "rbf" else 1)
        found = KernelPCA(kernel=name, gamma=1 / (width**2 * scale)).fit(train)
        return found.transform(train), found.transform(test)

    return mapped


def cosine(readout: SentenceReadout, read: np.ndarray, texts: np.ndarray) -> np.ndarray:
    return read @ texts.T


def last_layer(readout: SentenceReadout, read: np.ndarray, texts: np.ndarray) -> np.ndarray:
    size = readout.centre.shape[1]
    return unit_rows(read[:, -size:]) @ unit_rows(texts[:, -size:]).T


def without_hubs(readout: SentenceReadout, read: np.ndarray, texts: np.ndarray) -> np.ndarray:
    """CSLS (Conneau et al. 2018, arXiv 1710.04087, eq. 3), against predictions out of fold."""
    near = np.sort(readout.out_of_fold @ texts.T, axis=0)[-NEIGHBOURS:].mean(axis=0)
    # the term of the prediction is the same for all texts
    return 2 * read @ texts.T - near


def whitened(power: float) -> Liken:
    """Components of the training texts are divided by a power of their spread."""

    def liken(readout: SentenceReadout, read: np.ndarray, texts: np.ndarray) -> np.ndarray:
        axes, spread = _axes(readout)
        scaled = (unit_rows((x @ axes) * spread**-power) for x in (read, texts))
        one, other = scaled
        return one @ other.T

    return liken


def of_rank(rank: int) -> Liken:
    """Only the first components of the training texts are compared."""

    def liken(readout: SentenceReadout, read: np.ndarray, texts: np.ndarray) -> np.ndarray:
        axes, _ = _axes(readout)
        return unit_rows(read @ axes[:, :rank]) @ unit_rows(texts @ axes[:, :rank]).T

    return liken


def _axes(readout: SentenceReadout) -> tuple[np.ndarray, np.ndarray]:
    _, spread, axes = np.linalg.svd(readout.vectors, full_matrices=False)
    kept = spread > 1e-6 * spread[0]
    return axes[kept].T, spread[kept]


READOUTS: dict[str, tuple[Callable[..., Images], Liken]] = {
    PLAIN: (plain, cosine),
    "last layer": (plain, last_layer),
    "standardised images": (standardised, cosine),
    "images of length one": (of_length_one, cosine),
    "Gaussian kernel": (kernel("rbf"), cosine),
    "Gaussian kernel, half as wide": (kernel("rbf", 0.5), cosine),
    "Gaussian kernel, twice as wide": (kernel("rbf", 2.0), cosine),
    "cubic kernel": (kernel("poly"), cosine),
    "CSLS": (plain, without_hubs),
    "texts half whitened": (plain, whitened(0.5)),
    "texts whitened": (plain, whitened(1.0)),
    **{f"{rank} components of texts": (plain, of_rank(rank)) for rank in (20, 50, 100, 200)},
}


def main() -> None:
    """Score every read-out fold by fold; a row of all folds for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the sentences")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--noise", type=int, metavar="SEED", help="noise instead of every image")
    parser.add_argument("--machine", help="folder below benchmarks/results; default: only print")
    args = parser.parse_args()
    brain, texts, passages = read_folder(args.data)
    if args.noise is not None:
        brain = matched_noise(brain, np.random.default_rng(args.noise))
    encoder = Remembering(default_bert()[0])
    encoder.remember(texts)
    parts = group_folds(passages, args.folds, order="appearance")
    wins = {name: np.zeros(len(texts)) for name in READOUTS}
    firsts = {name: np.zeros(len(texts)) for name in READOUTS}
    for part in range(args.folds):
        train, test = np.flatnonzero(parts != part), np.flatnonzero(parts == part)
        fitted: dict[Callable[..., Images], tuple[SentenceReadout, np.ndarray]] = {}
        for name, (images, liken) in READOUTS.items():
            if images not in fitted:
                seen, unseen = images(brain[train], brain[test])
                readout = fit_sentence_readout(
                    seen, [texts[i] for i in train], groups=[passages[i] for i in train],
                    encoder=encoder,
                )  # fmt: skip
                fitted[images] = readout, readout.predict(unseen)
            readout, read = fitted[images]
            like = liken(readout, read, readout.embed([texts[i] for i in test]))
            own = np.diag(like)[:, None]
            below = (like < own) + 0.5 * (like == own)
            wins[name][test] = (below.sum(axis=1) - 0.5) / (len(test) - 1)
            firsts[name][test] = like.argmax(axis=1) == np.arange(len(test))
    case = f"{args.folds} folds" + ("" if args.noise is None else f", noise {args.noise}")
    record = Recorder(args.machine).row
    for name in READOUTS:
        found: dict[str, Any] = {"n": len(texts)}
        ahead = wins[name] - wins[PLAIN]
        for key, values in (("two_way", wins[name]), ("top1", firsts[name]), ("ahead", ahead)):
            found[key] = float(values.mean())
            found[f"{key}_ci"] = bootstrap_interval(values, blocks=passages).as_list()
        record(op="sentence_readout", case=case, readout=name, **found)


if __name__ == "__main__":
    main()
