"""Decoders of a quarter of a story, fitted on the rest of it, for ``alice_story.py``."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

# the sibling files read the listeners and the words
from alice_retrieval import TR
from alice_words import SILENCE_S

from fastbrain.brainllm import BrainLLM, BrainLLMConfig, fit_word_rate
from fastbrain.brainllm.training import BrainTexts, brainllm_preset, train_brainllm
from fastbrain.data import lagged_windows, lanczos_downsample
from fastbrain.decoding import Story
from fastbrain.encoding_model import EncodedSearch, WordFeatures, fit_encoding, reconstruct_encoded
from fastbrain.evaluation.metrics.bertscore import default_bert
from fastbrain.lm import vector_llm
from fastbrain.stats import fit_ridge

WINDOW = 4  # volumes of a window, 8 s
GUARD = 8  # volumes on either side of a quarter
LAGS = tuple(range(-3, 5))  # from the last volume of a window: during it, and 8 s after
COMPONENTS = 20
PENALTIES = (1.0, 10.0)  # on the steering
STEPS = 100  # of the language model


@dataclass(frozen=True)
class Heard:
    """Windows of the story: first volumes (N,), texts, words and embeddings (N, D)."""

    starts: np.ndarray
    texts: np.ndarray
    words: np.ndarray
    embedding: np.ndarray

    def __getitem__(self, rows: np.ndarray) -> Heard:
        return Heard(*(values[rows] for values in vars(self).values()))


def language_model(train: Heard) -> tuple[Any, Any]:
    """One that has read the windows outside the quarter, every fourth volume's; one in eight
    decides when to stop."""
    own = train.texts[train.starts % WINDOW == 0].tolist()
    watch = own[7::8]
    read = [text for text in own if text not in watch]
    # so little text is soon known by heart
    return vector_llm(read, watch, encoder=default_bert()[0], steps=STEPS)


def fit(people: list[np.ndarray], train: Heard, llm: tuple[Any, Any]) -> tuple:
    """Word rate, embedding and BrainLLM of some listeners outside the quarter."""
    rows = np.concatenate([windows(values, train.starts) for values in people])
    stretch = np.tile(train.starts // 40, len(people)).tolist()
    rate = fit_word_rate(rows, np.tile(train.words, len(people)), groups=stretch)
    mean = train.embedding.mean(axis=0)
    basis = np.linalg.svd(train.embedding - mean, full_matrices=False)[2][:COMPONENTS].T
    wanted = (train.embedding - mean) @ basis
    ridge = fit_ridge(flat(rows), np.tile(wanted, (len(people), 1)), groups=stretch)
    # steering learns from the mean of the listeners, as predicted by regressions that have not
    # seen the stretch; windows do not overlap, and one stretch in five is for validation
    held = ridge.out_of_fold.reshape(len(people), len(train.starts), -1).mean(axis=0)
    scale = held.std(axis=0).mean()
    seen = torch.from_numpy(held / scale)[:, None].float()
    part = np.flatnonzero(train.starts % WINDOW == 0)
    stretches = np.unique(train.starts[part] // 40)
    watch = np.isin(train.starts[part] // 40, stretches[1::5])
    config = BrainLLMConfig(COMPONENTS, frames=1, decoder="none", steering=True)
    model = BrainLLM(config, llm=llm[0], text_tokenizer=llm[1])
    samples = [
        BrainTexts(tuple(f"window {i}" for i in take), seen[take], tuple(train.texts[take]))
        for take in (part[~watch], part[watch])
    ]
    preset = replace(brainllm_preset(), steering_penalties=PENALTIES)
    with tempfile.TemporaryDirectory() as run:
        train_brainllm(model, *samples, preset, run_dir=run)
    return rate, ridge, model, (mean, basis, scale)


def encoded(
    learned: np.ndarray,
    brain: np.ndarray,
    words: list,
    llm: tuple[Any, Any],
    quarter: tuple[int, int],
    counts: np.ndarray,
    starts: np.ndarray,
) -> Story:
    """The quarter by the encoding model of the learners' mean."""
    features = WordFeatures(*llm, layer=0, context=0)
    times = np.array([(w.onset + w.offset) / 2 for w in words]) - SILENCE_S
    away = (times < (quarter[0] - GUARD) * TR) | (times >= (quarter[1] + GUARD) * TR)
    known = features.of([w.text.lower() for w, far in zip(words, away, strict=True) if far]).numpy()
    # few people and few volumes: the leading directions of the vectors of words that were heard
    basis = np.linalg.svd(known - known.mean(axis=0), full_matrices=False)[2][:COMPONENTS].T
    stimulus = lanczos_downsample(known @ basis, times[away], n_volumes=len(learned), tr=TR)
    at = np.arange(len(learned))
    outside = (at < quarter[0] - GUARD) | (at >= quarter[1] + GUARD)
    model = fit_encoding(
        stimulus[outside], learned[outside], fitted_on=("outside the quarter",),
        groups=(at[outside] // 40).tolist(), runs=(at[outside] >= quarter[1]).tolist(),
    )  # fmt: skip
    features = WordFeatures(*llm, layer=0, context=0, projection=torch.from_numpy(basis).float())
    search = EncodedSearch(beams=10, extensions=5, candidates=50, context=8)
    first, reach = int(starts[0]), max(LAGS)
    here = brain[first : first + len(counts) * WINDOW + reach]
    return reconstruct_encoded(model, features, here, counts, volumes=WINDOW, search=search)


def windows(values: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Volumes during and after each window, (N, lags, regions); the last ones are repeated."""
    longer = np.concatenate([values, np.repeat(values[-1:], max(LAGS), axis=0)])
    return lagged_windows(longer, starts + WINDOW - 1, lags=LAGS)[0]


def flat(rows: np.ndarray) -> np.ndarray:
    """Windows as rows."""
    return rows.reshape(len(rows), -1)
