"""On pure noise every p-value is uniform: a decoder that knows nothing is not believed.

Brains are noise, both in training and in test; brains and texts resemble their neighbours, as
windows of a scan and sentences of a story do, and stay in runs. Whatever the ridge decoder learnt
is chance. Permutations of single samples fail this test: p is below 0.05 three
times too often.
"""

from __future__ import annotations

import numpy as np
import pytest
from linear import correlated
from scipy.stats import kstest

from fastbrain.evaluation import correlations, pairwise_gathered, retrieval
from fastbrain.stats import derangements, needed_pairs, permutation_p

SIMULATIONS, COUNT = 240, 60
# (runs, samples a run, correlation of neighbouring brains and of neighbouring texts)
DESIGNS = {"six runs": ([40] * 6, 0.6), "unequal runs": ([30, 45, 50, 40, 35, 25], 0.5)}


def _noise(rng: np.random.Generator, sizes: list[int], rho: float, width: int) -> np.ndarray:
    return np.concatenate([correlated(rng, 1, size, width, rho) for size in sizes])


def _ridge(brains: np.ndarray, texts: np.ndarray) -> np.ndarray:
    return np.linalg.solve(brains.T @ brains + 10 * np.eye(brains.shape[1]), brains.T @ texts)


def _p_values(sizes: list[int], rho: float, seed: int) -> tuple[float, float, float]:
    """p of pairwise accuracy, two-way retrieval and a plain permutation test of one simulation."""
    rng = np.random.default_rng([7, seed])
    train, train_texts, test, texts = (_noise(rng, sizes, rho, 8) for _ in range(4))
    predicted = test @ _ridge(train, train_texts)
    blocks = np.repeat(np.arange(len(sizes)), sizes)
    partners = derangements(blocks, count=COUNT, seed=seed)
    pairs = needed_pairs(partners)
    brain, text = pairs.index.T
    nll = ((predicted[brain] - texts[text]) ** 2).mean(axis=1)
    ranks = retrieval(correlations(predicted, texts), blocks, ks=(), count=COUNT, seed=seed)
    products = (predicted * texts).sum(axis=1).mean()
    null = [(predicted[row] * texts).sum(axis=1).mean() for row in partners]
    return (
        pairwise_gathered(*pairs.gather(nll)).p,
        ranks.two_way.p,
        permutation_p(products, null),
    )


@pytest.mark.slow
@pytest.mark.parametrize("design", DESIGNS)
def test_p_values_are_uniform_on_noise(design):
    p = np.array([_p_values(*DESIGNS[design], seed) for seed in range(SIMULATIONS)])
    # p moves in steps of 1 / (COUNT + 1): spread each step evenly before comparing
    spread = np.random.default_rng(0).uniform(0, 1 / (COUNT + 1), p.shape)
    for name, values in zip(("pairwise", "two-way", "permutation"), (p - spread).T, strict=True):
        assert kstest(values, "uniform").pvalue > 0.01, name
        # and not too often small: 0.05 plus three standard errors
        assert (values <= 0.05).mean() < 0.05 + 3 * (0.05 * 0.95 / SIMULATIONS) ** 0.5, name


def test_shuffling_single_samples_would_fail():
    """The reason for stretches: a shuffle across runs forgets that neighbours are alike."""
    sizes, rho = DESIGNS["six runs"]
    blocks = np.repeat(np.arange(len(sizes)), sizes)
    p = {"shuffled": [], "stretches": []}
    for seed in range(120):
        rng = np.random.default_rng([8, seed])
        brains, texts = _noise(rng, sizes, rho, 8), _noise(rng, sizes, rho, 8)
        value = (brains * texts).sum()
        for name, labels in (("shuffled", np.arange(len(blocks))), ("stretches", blocks)):
            # blocks of one sample: no neighbours to keep
            rows = derangements(labels, count=COUNT, seed=seed)
            p[name].append(permutation_p(value, [(brains[r] * texts).sum() for r in rows]))
    assert np.mean(np.array(p["shuffled"]) <= 0.05) > 0.12
    assert np.mean(np.array(p["stretches"]) <= 0.05) < 0.12
