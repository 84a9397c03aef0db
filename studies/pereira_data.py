"""Sentences of Pereira et al. (2018), as published with BrainLLM, for the studies of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fastbrain._arrays import read_npy
from fastbrain._io import read_json
from fastbrain.errors import CohortError, LeakError
from fastbrain.evaluation.metrics.bertscore import default_bert
from fastbrain.lm.sentence_embeddings import sentence_embeddings
from fastbrain.lm.sources import find_model, load_tokenizer, load_weights_of
from fastbrain.stats import group_folds

FOLDS = 3  # by passage; choices are by as many inner folds of the training passages


def read_parts(
    folder: Path, train_folder: Path | None
) -> tuple[np.ndarray, list[str], list[str], np.ndarray]:
    """Images, texts, passages, and the fold each is tested in; -1 is only trained on."""
    brain, texts, passages = read_folder(folder)
    if train_folder is None:
        if len(set(passages)) < FOLDS * FOLDS:
            raise CohortError(
                f"pereira: {FOLDS} folds need at least {FOLDS * FOLDS} passages, got "
                f"{len(set(passages))}. Fit on another folder with --train-data."
            )
        parts = group_folds(passages, FOLDS, order="appearance")
    else:
        more, seen, seen_passages = read_folder(train_folder)
        if more.shape[1] != brain.shape[1]:
            raise CohortError(
                "pereira: images of --train-data and --data must have equally many components, "
                f"got {more.shape[1]} and {brain.shape[1]}."
            )
        parts = np.repeat([0, -1], [len(brain), len(more)])
        brain, texts = np.concatenate([brain, more]), texts + seen
        passages = passages + [f"train {p}" for p in seen_passages]
    refuse_shared(texts, parts)
    return brain, texts, passages, parts


def read_folder(folder: Path) -> tuple[np.ndarray, list[str], list[str]]:
    """Images, texts and passages."""
    path = folder / "features_pca1000.npy"
    brain = read_npy(path, where="pereira", error=CohortError).astype(np.float64)
    source = folder / "sentences.json"
    try:
        rows = sorted(read_json(source), key=lambda r: r["row"])
        texts, passages = [r["text"] for r in rows], [str(r["passage"]) for r in rows]
        numbered = [r["row"] for r in rows] == list(range(len(rows)))
    except (KeyError, TypeError) as error:
        raise CohortError(
            f"pereira: {source} must be a list of objects with row, text and passage, got: {error}."
        ) from error
    if not numbered:
        raise CohortError(f"pereira: rows of {source} must be 0 to {len(rows) - 1}, each once.")
    if brain.ndim != 2 or len(brain) != len(rows) or not np.isfinite(brain).all():
        raise CohortError(
            f"pereira: features_pca1000.npy must be finite with one row for each of the "
            f"{len(rows)} sentences, got shape {brain.shape}."
        )
    return brain, texts, passages


def embed(texts: list[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Embeddings (N, layers·D), subword counts (N, W) and a vector of each subword (W, D)."""
    path = default_bert()[0]
    units = sentence_embeddings(texts, path)
    source = find_model(path, function="pereira")
    tokenizer, model = load_tokenizer(source), load_weights_of(source)
    tokens = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    vocabulary = {token: i for i, token in enumerate(sorted({t for row in tokens for t in row}))}
    counts = np.zeros((len(texts), len(vocabulary)))
    for row, ids in zip(counts, tokens, strict=True):
        np.add.at(row, [vocabulary[t] for t in ids], 1)
    table = model.get_input_embeddings().weight.detach().double().numpy()
    return units.reshape(len(texts), -1), counts, table[list(vocabulary)] - table.mean(axis=0)


def matched_noise(brain: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Gaussian noise with the mean and variance of each component."""
    return brain.mean(axis=0) + brain.std(axis=0) * rng.standard_normal(brain.shape)


def refuse_shared(texts: Sequence[str], parts: np.ndarray) -> None:
    """No sentence may be on both sides of a split."""
    home: dict[str, int] = {}
    for text, part in zip(texts, parts, strict=True):
        if home.setdefault(text, part) != part:
            raise LeakError(f"pereira: no sentence may be on both sides of a split, got {text!r}.")
