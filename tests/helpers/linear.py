"""A simulated experiment and a ridge decoder that the controls can run."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

VERBS, NOUNS = ("sees", "holds", "drops", "finds"), ("ball", "cake", "lamp", "tree", "book", "door")
SENTENCES = tuple(f"she {verb} a {noun}" for verb in VERBS for noun in NOUNS)
_VECTORS = dict(zip(SENTENCES, np.random.default_rng(9).normal(size=(24, 12)), strict=True))


def embed(texts) -> np.ndarray:
    """Text features, (N, 12)."""
    return np.stack([_VECTORS[text] for text in texts])


def correlated(rng, runs: int, samples: int, width: int, rho: float) -> np.ndarray:
    """Runs of samples that resemble their neighbours, (runs · samples, width)."""
    values = rng.normal(size=(runs, samples, width))
    for t in range(1, samples):
        values[:, t] = rho * values[:, t - 1] + np.sqrt(1 - rho**2) * values[:, t]
    return values.reshape(-1, width)


@dataclass
class Experiment:
    """Brains (N, 30) and texts of `runs` runs; train and test share nothing but the encoding."""

    train: np.ndarray
    train_texts: list[str]
    test: np.ndarray
    texts: list[str]
    blocks: np.ndarray

    @classmethod
    def draw(cls, signal: float, *, seed: int = 0, runs: int = 6, samples: int = 20):
        rng = np.random.default_rng(seed)
        encoding = rng.normal(size=(12, 30))

        def half() -> tuple[np.ndarray, list[str]]:
            # a topic that drifts: neighbouring sentences are alike
            topic = correlated(rng, runs, samples, 12, 0.7)
            texts = [SENTENCES[i] for i in (topic @ embed(SENTENCES).T).argmax(axis=1)]
            noise = correlated(rng, runs, samples, 30, 0.5)
            brains = noise + signal * embed(texts) @ encoding / 12**0.5
            # as detrending does: the mean of a run would tell its topic, whatever its phases
            by_run = brains.reshape(runs, samples, 30)
            return (by_run - by_run.mean(axis=1, keepdims=True)).reshape(brains.shape), texts

        return cls(*half(), *half(), np.repeat(np.arange(runs), samples))


class Ridge:
    """Ridge from brain to text features; says the nearest of all sentences."""

    def __init__(self, brains: np.ndarray, texts: list[str], alpha: float = 30.0) -> None:
        x, y = brains - brains.mean(axis=0), embed(texts)
        self.mean, self.center = brains.mean(axis=0), y.mean(axis=0)
        inverse = np.linalg.inv(x.T @ x + alpha * np.eye(x.shape[1]))
        self.weights = inverse @ x.T @ (y - self.center)
        self.scored = 0

    def read(self, brains: np.ndarray) -> np.ndarray:
        return self.center + (brains - self.mean) @ self.weights

    def read_nothing(self) -> np.ndarray:
        return self.center[None]

    def write(self, prefixes: np.ndarray) -> list[str]:
        return [SENTENCES[i] for i in _distance(prefixes, embed(SENTENCES)).argmin(axis=1)]

    def score(self, prefixes, texts, pairs) -> np.ndarray:
        self.scored += len(pairs)
        return ((prefixes[pairs[:, 0]] - embed(texts)[pairs[:, 1]]) ** 2).mean(axis=1)

    def features(self, prefixes: np.ndarray) -> np.ndarray:
        return prefixes

    def untuned(self) -> None:
        return None


def _distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return ((a[:, None] - b) ** 2).mean(axis=2)
