"""Read-outs of what 20 seconds of a story say, from six regions, for ``alice_text.py``."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

# the sibling files read the words
from alice_retrieval import RESPONSE, TR, VOLUMES
from alice_words import SILENCE_S, read_story

from fastbrain.data import texts_between, word_rates
from fastbrain.decoding import SentenceReadout, fit_sentence_readout
from fastbrain.decoding.sentences.readout import two_way
from fastbrain.lm.sentence_embeddings import SentenceEncoder
from fastbrain.stats import Ridge, fit_ridge, fold_means
from fastbrain.stats.unit_rows import unit_rows

PARTS = 4  # of the story
GUARD = 10  # volumes between responses, or words, that train and those that are tested
STRETCH = 60  # volumes that are left out together to choose penalties and weights
EVERY = 2  # volumes from one training segment to the next
RATES = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)


class Remembered(SentenceEncoder):
    """Embeds each text once: all listeners and halves hear the same."""

    known: dict[str, np.ndarray]

    def layers(self, texts: Any) -> np.ndarray:
        """Layers (N, layers, D) of texts."""
        self.known = getattr(self, "known", {})
        new = [text for text in dict.fromkeys(texts) if text not in self.known]
        if new:
            self.known |= dict(zip(new, super().layers(new), strict=True))
        return np.stack([self.known[text] for text in texts])


@dataclass(frozen=True)
class Heard:
    """Texts and word rates (N, 10 · 3) of the 20 s from every volume on."""

    texts: np.ndarray
    rates: np.ndarray


@dataclass(frozen=True)
class Learned:
    """Read-outs of a half of the listeners outside a quarter."""

    readout: SentenceReadout
    rate: Ridge
    scale: np.ndarray
    weight: float

    def similarity(self, brain: np.ndarray, heard: Heard, at: np.ndarray) -> np.ndarray:
        """Of brains (N, B) with segments that begin at volumes (M,), kinds × (N, M)."""
        meaning = self.readout.predict(brain) @ self.readout.embed(heard.texts[at].tolist()).T
        said = self.rate.predict(by_volume(brain)).reshape(len(brain), -1)
        rate = cosines(said, heard.rates[at] / self.scale, self.rate)
        return np.stack([meaning, rate, meaning + self.weight * rate])


def windows(values: np.ndarray) -> np.ndarray:
    """Responses to the 20 s from every volume on, (N, volumes · regions); 0 after the end."""
    longer = np.concatenate([values, np.zeros((RESPONSE.stop, values.shape[1]))])
    at = np.arange(len(values) - VOLUMES + 1)[:, None] + np.array(RESPONSE)
    return longer[at].reshape(len(at), -1)


def hear(folder: Path, volumes: int) -> Heard:
    """What is heard in the 20 s from every volume on."""
    words, first = read_story(folder), np.arange(volumes - VOLUMES + 1)
    texts = texts_between(words, first * TR, (first + VOLUMES) * TR, onset_s=-SILENCE_S)
    rates = word_rates(words, tr=TR, n_volumes=volumes, onset_s=-SILENCE_S)
    rates = rates[first[:, None] + np.arange(VOLUMES)].reshape(len(first), -1)
    return Heard(np.array([text.lower() or "." for text in texts]), rates)


def quarters(count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """First volumes of the segments that train and that are tested, of each quarter."""
    found = []
    edges = np.linspace(0, (count - 1) // VOLUMES + 1, PARTS + 1).astype(int) * VOLUMES
    start = np.arange(0, count, EVERY)
    # no response or word of one stretch is of another
    whole = start % STRETCH + RESPONSE.stop <= STRETCH
    for first, last in itertools.pairwise(edges):
        before = start + RESPONSE.stop + GUARD <= first
        after = start >= last + RESPONSE.stop - VOLUMES + GUARD
        found.append((start[whole & (before | after)], np.arange(first, last, VOLUMES)))
    return found


def by_volume(brain: np.ndarray) -> np.ndarray:
    """Responses to each volume of segments (N, B), in turn, (N · 10, lags · regions)."""
    rows = brain.reshape(len(brain), len(RESPONSE), -1)
    lags = len(RESPONSE) - VOLUMES + 1
    return np.stack([rows[:, i : i + lags] for i in range(VOLUMES)], axis=1).reshape(
        len(brain) * VOLUMES, -1
    )


def cosines(said: np.ndarray, true: np.ndarray, rate: Ridge) -> np.ndarray:
    """Of rates (N, D) with others (M, D), less the mean."""
    mean = np.tile(rate.y_mean, VOLUMES)
    return unit_rows(said - mean) @ unit_rows(true - mean).T


def learn(brains: np.ndarray, heard: Heard, at: np.ndarray, encoder: SentenceEncoder) -> Learned:
    """Fit on segments of all these listeners (L, T, B), each a sample."""
    x, texts, groups = samples(brains, heard, at)
    readout = fit_sentence_readout(x, texts, groups=groups, encoder=encoder)
    scale = np.tile(heard.rates[at].reshape(-1, 3).std(axis=0), VOLUMES)
    y = np.tile(heard.rates[at] / scale, (len(brains), 1))
    volume, volume_groups = y.reshape(-1, 3), np.repeat(groups, VOLUMES).tolist()
    rate = fit_ridge(by_volume(x), volume, groups=volume_groups)
    meaning = readout.out_of_fold @ readout.vectors.T
    held = rate.out_of_fold - fold_means(volume, groups=volume_groups) + rate.y_mean
    held = cosines(held.reshape(len(y), -1), y, rate)
    weight = max(RATES, key=lambda w: two_way(meaning + w * held))
    return Learned(readout, rate, scale, weight)


def samples(brains: np.ndarray, heard: Heard, at: np.ndarray) -> tuple[np.ndarray, list, list]:
    """Brains, texts and stretches of the segments of all listeners."""
    flat = brains[:, at].reshape(-1, brains.shape[2])
    return flat, heard.texts[at].tolist() * len(brains), (at // STRETCH).tolist() * len(brains)
