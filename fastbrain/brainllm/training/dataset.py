"""Brain windows with their texts, and a loader that can be resumed within an epoch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..._arguments import checked
from ...errors import InputError


@checked
@dataclass(frozen=True, eq=False)
class BrainTexts:
    """Windows and texts of one part of a split.

    Parameters
    ----------
    trial_ids : tuple of str, (N,)
    windows : Tensor, (N, t, k) float32
        Components of the volumes, standardised over the training part.
    texts : tuple of str, (N,)
        Texts to decode.
    prompts : tuple of str, (N,)
        Text before each sample, possibly empty. Default: all empty.
    """

    trial_ids: tuple[str, ...]
    windows: Tensor
    texts: tuple[str, ...]
    prompts: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        n = len(self.trial_ids)
        if not self.prompts:
            object.__setattr__(self, "prompts", ("",) * n)
        windows = len(self.windows) if self.windows.ndim == 3 else -1
        sizes = (windows, len(self.texts), len(self.prompts))
        if not n or sizes != (n, n, n):
            raise InputError(
                f"BrainTexts: windows must be (N, t, k) with as many texts and prompts as "
                f"trial_ids, got {tuple(self.windows.shape)}, {sizes[1]}, {sizes[2]} and {n}."
            )
        if len(set(self.trial_ids)) < n:
            raise InputError("BrainTexts: trial_ids must differ, got one twice.")
        if not bool(self.windows.isfinite().all()):
            raise InputError("BrainTexts: windows must be finite, got NaN or infinity.")

    def __len__(self) -> int:
        return len(self.trial_ids)

    def take(self, rows: Sequence[int]) -> BrainTexts:
        """Select samples, in the order of `rows`."""
        return BrainTexts(
            tuple(self.trial_ids[i] for i in rows),
            self.windows[list(rows)],
            tuple(self.texts[i] for i in rows),
            tuple(self.prompts[i] for i in rows),
        )


class BrainTextLoader:
    """Batches of samples; a :class:`fastbrain.training.Loader`.

    Parameters
    ----------
    data : BrainTexts
    batch_size : int
    shuffle : bool
    seed : int
        Epoch e is shuffled with seed + e.
    """

    def __init__(
        self, data: BrainTexts, *, batch_size: int, shuffle: bool = True, seed: int = 0
    ) -> None:
        if batch_size < 1:
            raise InputError(f"BrainTextLoader: batch_size must be >= 1, got {batch_size}.")
        self.data, self.batch_size = data, batch_size
        self.shuffle, self.seed = shuffle, seed
        self.epoch = self.position = 0

    def __len__(self) -> int:
        return -(-len(self.data) // self.batch_size)

    def __iter__(self) -> Iterator[BrainTexts]:
        order = list(range(len(self.data)))
        if self.shuffle:
            generator = torch.Generator().manual_seed(self.seed + self.epoch)
            order = torch.randperm(len(order), generator=generator).tolist()
        while self.position < len(self):
            start = self.position * self.batch_size
            self.position += 1
            yield self.data.take(order[start : start + self.batch_size])
        self.epoch, self.position = self.epoch + 1, 0

    def state_dict(self) -> dict[str, Any]:
        """Return the epoch and the number of batches of it already yielded."""
        return {"epoch": self.epoch, "position": self.position}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Resume from a saved epoch and position."""
        self.epoch, self.position = int(state["epoch"]), int(state["position"])
