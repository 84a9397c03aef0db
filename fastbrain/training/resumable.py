"""Batches of samples in an order that can be resumed exactly."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Generic, TypeVar

import torch

from .._shards import Part
from ..errors import CheckpointError, InputError

Batch = TypeVar("Batch")


class ResumableLoader(ABC, Generic[Batch]):
    """Base of loaders; implements :class:`fastbrain.training.Loader`.

    Each ``for`` loop is one epoch. After a loop that was left early, or after loading a state,
    iteration continues with the next batch of the same epoch.

    Parameters
    ----------
    batch_size : int
    shuffle : bool
    seed : int
        Epoch e is shuffled with seed + e.

    Raises
    ------
    InputError
        The batch size is below 1.
    """

    def __init__(self, *, batch_size: int, shuffle: bool = True, seed: int = 0) -> None:
        if batch_size < 1:
            raise InputError(
                f"{type(self).__name__}: batch_size must be 1 or more, got {batch_size}."
            )
        self.batch_size, self.shuffle, self.seed = batch_size, shuffle, seed
        self.epoch = self.position = 0
        self.part = Part()

    def divide(self, part: Part) -> None:
        """Yield only the rows of one process of each batch; order and state do not change."""
        self.part = part

    @abstractmethod
    def _samples(self) -> int:
        """Return the number of samples of an epoch."""

    @abstractmethod
    def _batch(self, rows: list[int]) -> Batch:
        """Make the batch of these samples, a dataclass with a field `shard`."""

    def _begin(self, generator: torch.Generator) -> None:
        """Draw what an epoch needs besides its order."""

    def __len__(self) -> int:
        return -(-self._samples() // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        self._begin(generator)
        order = list(range(self._samples()))
        if self.shuffle:
            order = torch.randperm(len(order), generator=generator).tolist()
        while self.position < len(self):
            rows = order[self.position * self.batch_size :][: self.batch_size]
            # counted before the yield, so that a state saved by the caller does not repeat it
            self.position += 1
            own, shard = self.part.of(rows)
            batch = self._batch(list(own))
            yield batch if shard is None else replace(batch, shard=shard)  # type: ignore[type-var]
        self.epoch, self.position = self.epoch + 1, 0

    def state_dict(self) -> dict[str, Any]:
        """Return the epoch and the number of its batches that were already yielded."""
        return {"epoch": self.epoch, "position": self.position}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a saved epoch and position.

        Raises
        ------
        CheckpointError
            The state does not hold the two counts.
        """
        counts = (state.get("epoch"), state.get("position"))
        if not all(type(n) is int and n >= 0 for n in counts):
            raise CheckpointError(
                f"{type(self).__name__}: state must hold counts of epochs and batches, got "
                f"{dict(state)}. Start again, or use an intact checkpoint."
            )
        self.epoch, self.position = int(state["epoch"]), int(state["position"])
