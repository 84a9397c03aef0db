"""Several data sets in one training, in given shares."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from .._shards import Part
from ..errors import CheckpointError, ConfigError
from .run import Loader


class MixedLoader:
    """Loader of the batches of several loaders; implements :class:`fastbrain.training.Loader`.

    Each batch comes from one loader, so that their windows may differ in length or grid. An epoch
    has a fixed number of batches of each loader in random order; a loader that ends starts its next
    epoch, and one with a small share goes on where it was.

    Parameters
    ----------
    loaders : sequence of Loader
    weights : sequence of float
        Share of the batches of an epoch that each loader gives, up to a factor.
    batches : int, optional
        Batches in an epoch. Default: as many as all loaders have together.
    seed : int
        The order depends on (seed, epoch).

    Raises
    ------
    ConfigError
        There is not one positive weight for each loader, or a share is less than one batch.
    """

    def __init__(
        self,
        loaders: Sequence[Loader],
        weights: Sequence[float],
        *,
        batches: int | None = None,
        seed: int = 0,
    ) -> None:
        self.loaders, self.weights, self.seed = tuple(loaders), tuple(weights), seed
        self.batches = sum(map(len, self.loaders)) if batches is None else batches
        good = len(self.weights) == len(self.loaders) > 0
        if not good or not all(np.isfinite(w) and w > 0 for w in self.weights):
            raise ConfigError(
                f"MixedLoader: weights must be a positive number for each of "
                f"{len(self.loaders)} loaders, got {self.weights}."
            )
        if min(self.shares()) < 1:
            raise ConfigError(
                f"MixedLoader: every loader must give a batch of {self.batches}, got shares of "
                f"{self.shares()}. Raise batches or the smallest weight."
            )
        self.epoch = self.position = 0

    def shares(self) -> list[int]:
        """Number of batches of each loader in an epoch."""
        return quotas(self.batches, self.weights)

    def divide(self, part: Part) -> None:
        """Yield only the rows of one process of each batch."""
        for loader in self.loaders:
            loader.divide(part)  # type: ignore[attr-defined]

    def __len__(self) -> int:
        return self.batches

    def __iter__(self) -> Iterator[Any]:
        sources = [forever(loader) for loader in self.loaders]
        chosen = np.repeat(np.arange(len(sources)), self.shares())
        order = np.random.default_rng([self.seed, self.epoch]).permutation(chosen)
        while self.position < self.batches:
            batch = next(sources[order[self.position]])
            # counted before the yield, so that a state saved by the caller does not repeat it
            self.position += 1
            yield batch
        self.epoch, self.position = self.epoch + 1, 0

    def state_dict(self) -> dict[str, Any]:
        """Return epoch, position and the states of all loaders."""
        states = [loader.state_dict() for loader in self.loaders]
        return {"epoch": self.epoch, "position": self.position, "loaders": states}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a saved state.

        Raises
        ------
        CheckpointError
            The state does not fit these loaders.
        """
        states = state.get("loaders")
        counts = (state.get("epoch"), state.get("position"))
        whole = isinstance(states, list) and len(states) == len(self.loaders)
        if not whole or not all(type(n) is int and n >= 0 for n in counts):
            raise CheckpointError(
                f"MixedLoader: state must hold two counts and {len(self.loaders)} states, got "
                f"{dict(state)}. Start again, or use an intact checkpoint."
            )
        for loader, own in zip(self.loaders, states or (), strict=True):
            loader.load_state_dict(own)
        self.epoch, self.position = int(state["epoch"]), int(state["position"])


def quotas(total: int, weights: Sequence[float]) -> list[int]:
    """Divide a number in proportion to weights, by largest remainder; the parts sum to it."""
    exact = np.asarray(weights, dtype=float) / sum(weights) * total
    counts = np.floor(exact).astype(int)
    counts[np.argsort(counts - exact, kind="stable")[: total - counts.sum()]] += 1
    return [int(n) for n in counts]


def forever(loader: Loader) -> Iterator[Any]:
    """Yield the batches of a loader, epoch after epoch."""
    while True:
        yield from loader
