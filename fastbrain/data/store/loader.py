"""Batches of windows for training; the only module of the package that imports torch."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ..._shards import Part, Shard
from ...errors import CheckpointError, InputError
from .buckets import epoch_batches
from .collection import StoreCollection
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
    grid : str
        Name of the grid of all windows, of a collection of stores; "" for a single store.
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
    grid: str = ""
    shard: Shard | None = None

    def pin_memory(self) -> Batch:
        """Return the batch with its voxels in page-locked memory."""
        return replace(self, voxels=self.voxels.pin_memory())


class WindowLoader:
    """Iterate over windows in batches; the position can be saved and restored exactly.

    A batch holds windows of one grid and one length; a store with windows of several lengths, and a
    collection of stores on several grids, give batches of each kind in a shuffled order.
    Each ``for`` loop is one epoch. After a loop that was left early, or after loading a state,
    iteration continues with the next batch of the same epoch. The order depends only on
    (seed, epoch), and neither it nor the state depends on the number of workers: a state saved with
    two workers continues with none or four.

    Parameters
    ----------
    store : VoxelStore or StoreCollection
    trial_ids : sequence of str
        For instance ``store.split.train``.
    batch_size : int
        Largest number of windows in a batch.
    shuffle : bool
    seed : int
    drop_last : bool
        Whether to leave out a last, smaller batch of each kind.
    workers : int
        Number of processes that read batches ahead; 0 reads in this process. Windows are slices of
        a memory map, so that workers pay off only for stores that do not fit into the page cache,
        and for int8.
    pin_memory : bool, optional
        Whether batches lie in page-locked memory, for copies to a GPU beside its work. Default:
        where a CUDA device is there.

    Raises
    ------
    InputError
        `trial_ids` is empty, contains a trial twice or an unknown one; the batch size, the seed or
        the number of workers is out of range; memory is to be pinned without a CUDA device.
    """

    def __init__(
        self,
        store: VoxelStore | StoreCollection,
        trial_ids: Sequence[str],
        *,
        batch_size: int,
        shuffle: bool,
        seed: int = 0,
        drop_last: bool = False,
        workers: int = 0,
        pin_memory: bool | None = None,
    ) -> None:
        self.trial_ids = tuple(trial_ids)
        unknown = [i for i in self.trial_ids if i not in store.by_id]
        if not self.trial_ids or unknown or len(set(self.trial_ids)) < len(self.trial_ids):
            raise InputError(
                "WindowLoader: trial_ids must name trials of the store, each once, got "
                f"{len(self.trial_ids)} of which unknown {unknown[:3]}."
            )
        if seed < 0:
            raise InputError(f"WindowLoader: seed must be >= 0, got {seed}.")
        if workers < 0:
            raise InputError(f"WindowLoader: workers must be >= 0, got {workers}.")
        if pin_memory and not torch.cuda.is_available():
            raise InputError(
                "WindowLoader: pin_memory must be False without a CUDA device, got True. Leave it "
                "out: memory is pinned where that helps."
            )
        trials = [store.by_id[i] for i in self.trial_ids]
        grids = [
            store.grid_of(i) if isinstance(store, StoreCollection) else "" for i in self.trial_ids
        ]
        self._kinds = [(grid, t.frames) for grid, t in zip(grids, trials, strict=True)]
        most = max(Counter(self._kinds).values())
        if batch_size < 1 or (drop_last and batch_size > most):
            raise InputError(f"WindowLoader: batch_size must be 1..{most}, got {batch_size}.")
        self.store = store
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.drop_last = drop_last
        self.workers = workers
        self.pin_memory = torch.cuda.is_available() if pin_memory is None else pin_memory
        self._texts = tuple(t.text for t in trials)
        self._subjects = tuple(t.subject for t in trials)
        self._instructions = tuple(t.instruction for t in trials)
        self._places = tuple(
            f"{t.trial_id} (run {t.run_id}, volumes {t.start}..{t.start + t.frames - 1})"
            for t in trials
        )
        self._epoch = 0
        self._position = 0
        self._part = Part()

    def divide(self, part: Part) -> None:
        """Read only the windows of one process of each batch; order and state do not change."""
        self._part = part

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        size, rest = self.batch_size, 0 if self.drop_last else self.batch_size - 1
        return sum((n + rest) // size for n in Counter(self._kinds).values())

    def __iter__(self) -> Iterator[Batch]:
        shuffled = np.random.default_rng([self.seed, self._epoch]) if self.shuffle else None
        order, ends = epoch_batches(
            self._kinds,
            batch_size=self.batch_size,
            drop_last=self.drop_last,
            generator=shuffled,
        )
        left = [end for end in ends.tolist() if end > self._position]
        parts = [self._part.of(order[a:b]) for a, b in pairwise([self._position, *left])]
        read = self._read([own for own, _ in parts])
        for end, (_, shard), batch in zip(left, parts, read, strict=True):
            # counted before the yield, so that a state saved by the caller does not repeat it
            self._position = end
            yield batch if shard is None else replace(batch, shard=shard)
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

    def _read(self, chosen: list[npt.NDArray[np.int64]]) -> Iterable[Batch]:
        """Read batches in order, here or ahead in other processes."""
        if not self.workers:
            return map(self._batch, chosen)
        return DataLoader(
            _Batches(self),
            sampler=chosen,
            batch_size=None,
            num_workers=self.workers,
            collate_fn=_as_it_is,  # type: ignore[arg-type]
            pin_memory=self.pin_memory,
            # its own, because the loader draws a seed from the global one otherwise
            generator=torch.Generator().manual_seed(self.seed),
        )

    def _batch(self, chosen: npt.NDArray[np.int64]) -> Batch:
        windows = [self.store.window(self.trial_ids[i]) for i in chosen]
        # workers hand over shared memory, which is pinned on arrival
        pinned = self.pin_memory and not self.workers
        shape = (len(chosen), *windows[0].shape)
        voxels = torch.empty(shape, dtype=torch.int16, pin_memory=pinned)
        target = voxels.numpy()
        for row, window in enumerate(windows):
            # the only copy between disk and device
            target[row] = window
        return Batch(
            voxels=voxels,
            trial_ids=tuple(self.trial_ids[i] for i in chosen),
            texts=tuple(self._texts[i] for i in chosen),
            subjects=tuple(self._subjects[i] for i in chosen),
            indices=torch.as_tensor(np.asarray(chosen, dtype=np.int64)),
            places=tuple(self._places[i] for i in chosen),
            instructions=tuple(self._instructions[i] for i in chosen),
            grid=self._kinds[chosen[0]][0],
        )


class _Batches(Dataset[Batch]):
    """Batches of a loader by the positions of their windows, for worker processes."""

    def __init__(self, loader: WindowLoader) -> None:
        self._loader = loader

    def __getitem__(self, chosen: Any) -> Batch:
        return self._loader._batch(chosen)


def _as_it_is(batch: Batch) -> Batch:
    return batch
