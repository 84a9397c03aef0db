"""Batches of windows for training; the only module of the package that imports torch."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..._shards import Part, Shard
from ...errors import CheckpointError, InputError
from .store import VoxelStore


@dataclass(frozen=True, eq=False)
class Batch:
    """A batch of windows.

    Parameters
    ----------
    voxels : Tensor, (B, F, n_tokens, P) int16
        Stored integers; multiply by ``store.scale`` for store units.
    trial_ids, texts, subjects : tuple of str
    indices : Tensor, (B,) int64
        Position of each trial in the loader's `trial_ids`.
    places : tuple of str
        Run and volumes of each window, for messages.
    instructions : tuple of str
        Instruction that each text answers, "" where there is none.
    shard : Shard or None
        Rows of the joined batch that these are, if several processes divide it.
    """

    voxels: Tensor
    trial_ids: tuple[str, ...]
    texts: tuple[str, ...]
    subjects: tuple[str, ...]
    indices: Tensor
    places: tuple[str, ...] = ()
    instructions: tuple[str, ...] = ()
    shard: Shard | None = None


class WindowLoader:
    """Iterate over windows in batches; the position can be saved and restored exactly.

    Each ``for`` loop is one epoch. After a loop that was left early, or after loading a state,
    iteration continues with the next batch of the same epoch. The order depends only on
    (seed, epoch).

    Parameters
    ----------
    store : VoxelStore
    trial_ids : sequence of str
        For instance ``store.split.train``. All windows must have the same number of volumes.
    batch_size : int
    shuffle : bool
    seed : int
    drop_last : bool
        Whether to leave out a last, smaller batch.

    Raises
    ------
    InputError
        `trial_ids` is empty, contains a trial twice or an unknown one; the windows differ in
        length; the batch size or the seed is out of range.
    """

    def __init__(
        self,
        store: VoxelStore,
        trial_ids: Sequence[str],
        *,
        batch_size: int,
        shuffle: bool,
        seed: int = 0,
        drop_last: bool = False,
    ) -> None:
        self.trial_ids = tuple(trial_ids)
        unknown = [i for i in self.trial_ids if i not in store.by_id]
        if not self.trial_ids or unknown or len(set(self.trial_ids)) < len(self.trial_ids):
            raise InputError(
                "WindowLoader: trial_ids must name trials of the store, each once, got "
                f"{len(self.trial_ids)} of which unknown {unknown[:3]}."
            )
        if batch_size < 1 or (drop_last and batch_size > len(self.trial_ids)):
            raise InputError(
                f"WindowLoader: batch_size must be 1..{len(self.trial_ids)}, got {batch_size}."
            )
        if seed < 0:
            raise InputError(f"WindowLoader: seed must be >= 0, got {seed}.")
        trials = [store.by_id[i] for i in self.trial_ids]
        frames = {t.frames for t in trials}
        if len(frames) > 1:
            raise InputError(
                f"WindowLoader: windows must be equally long, got {sorted(frames)} volumes."
            )
        self.store = store
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.drop_last = drop_last
        self._texts = tuple(t.text for t in trials)
        self._subjects = tuple(t.subject for t in trials)
        self._instructions = tuple(t.instruction for t in trials)
        self._places = tuple(
            f"{t.trial_id} (run {t.run_id}, volumes {t.start}..{t.start + t.frames - 1})"
            for t in trials
        )
        self._shape = (frames.pop(), store.grid.n_tokens, store.grid.patch_voxels)
        self._epoch = 0
        self._position = 0
        self._part = Part()

    def divide(self, part: Part) -> None:
        """Read only the windows of one process of each batch; order and state do not change."""
        self._part = part

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        whole, rest = divmod(len(self.trial_ids), self.batch_size)
        return whole + (1 if rest and not self.drop_last else 0)

    def __iter__(self) -> Iterator[Batch]:
        order = self._order()
        end = min(len(order), len(self) * self.batch_size)
        while self._position < end:
            chosen = order[self._position : min(self._position + self.batch_size, end)]
            own, shard = self._part.of(chosen)
            batch = self._batch(own)
            batch = batch if shard is None else replace(batch, shard=shard)
            # counted before the yield, so that a state saved by the caller does not repeat it
            self._position += len(chosen)
            yield batch
        self._epoch += 1
        self._position = 0

    def state_dict(self) -> dict[str, Any]:
        """Return epoch, number of windows already yielded in it, and the loader's settings."""
        return {"epoch": self._epoch, "position": self._position, **self._identity()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where another loader of the same trials stopped.

        Raises
        ------
        CheckpointError
            The state belongs to other trials or other settings, or is damaged.
        """
        identity = self._identity()
        if set(state) != {"epoch", "position", *identity}:
            raise CheckpointError(f"WindowLoader: state has the wrong keys, got {sorted(state)}.")
        changed = [key for key, value in identity.items() if state[key] != value]
        if changed:
            raise CheckpointError(
                f"WindowLoader: state must be of the same trials and order, got another "
                f"{', '.join(changed)}."
            )
        epoch, position = state["epoch"], state["position"]
        if not (isinstance(epoch, int) and isinstance(position, int)) or not (
            epoch >= 0 and 0 <= position <= len(self.trial_ids)
        ):
            raise CheckpointError(
                f"WindowLoader: state must hold counts, got epoch {epoch}, position {position}."
            )
        self._epoch, self._position = epoch, position

    def _identity(self) -> dict[str, Any]:
        digest = hashlib.sha256("\n".join(self.trial_ids).encode()).hexdigest()[:16]
        return {
            "trials": digest,
            "seed": self.seed,
            "shuffle": self.shuffle,
            "batch_size": self.batch_size,
            "drop_last": self.drop_last,
        }

    def _order(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        n = len(self.trial_ids)
        if not self.shuffle:
            return np.arange(n)
        return np.random.default_rng([self.seed, self._epoch]).permutation(n)

    def _batch(self, chosen: Any) -> Batch:
        voxels = torch.empty((len(chosen), *self._shape), dtype=torch.int16)
        target = voxels.numpy()
        for row, index in enumerate(chosen):
            # the only copy between disk and device
            target[row] = self.store.window(self.trial_ids[index])
        return Batch(
            voxels=voxels,
            trial_ids=tuple(self.trial_ids[i] for i in chosen),
            texts=tuple(self._texts[i] for i in chosen),
            subjects=tuple(self._subjects[i] for i in chosen),
            indices=torch.as_tensor(np.asarray(chosen, dtype=np.int64)),
            places=tuple(self._places[i] for i in chosen),
            instructions=tuple(self._instructions[i] for i in chosen),
        )
