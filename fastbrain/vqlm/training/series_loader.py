"""Batches of windows of region series, in an order that can be resumed exactly."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ...errors import InputError


@dataclass(frozen=True)
class SeriesBatch:
    """A batch of windows of region series.

    Parameters
    ----------
    series : Tensor, (B, R, T) float32
        Series in the units of the runs; frames after the end of a run are 0.
    mask : Tensor, (B, R, P) bool, or None
        True for patches inside their run; None if all patches are.
    trial_ids : tuple of str
        ``run:first frame``.
    """

    series: Tensor
    mask: Tensor | None
    trial_ids: tuple[str, ...]

    @property
    def runs(self) -> tuple[str, ...]:
        """Run of each window."""
        return tuple(i.rpartition(":")[0] for i in self.trial_ids)


class SeriesLoader:
    """Batches of windows; a :class:`fastbrain.training.Loader`.

    Parameters
    ----------
    runs : mapping of str to ndarray, (R, T)
        Series by run; lengths may differ.
    frames : int
        Frames of a window. The last window of a run is padded; trailing frames that do not fill a
        patch are not used.
    patch : int
        Frames per token; divides `frames`.
    batch_size : int
    shuffle : bool
    seed : int
        Epoch e is shuffled with seed + e.

    Raises
    ------
    InputError
        An option is out of range, or runs have different regions, are shorter than a patch or are
        not finite.
    """

    def __init__(
        self,
        runs: Mapping[str, npt.NDArray[Any]],
        *,
        frames: int,
        patch: int,
        batch_size: int,
        shuffle: bool = True,
        seed: int = 0,
    ) -> None:
        if patch < 1 or frames < patch or frames % patch or batch_size < 1 or not runs:
            raise InputError(
                "SeriesLoader: frames must be a multiple of patch, batch_size 1 or more and runs "
                f"some, got {frames}, {patch}, {batch_size} and {len(runs)} runs."
            )
        self.runs = {name: np.asarray(run, dtype=np.float32) for name, run in runs.items()}
        regions = {run.shape[:-1] for run in self.runs.values()}
        for name, run in self.runs.items():
            if run.ndim != 2 or len(regions) > 1 or run.shape[1] < patch:
                raise InputError(
                    f"SeriesLoader: runs must be (R, T >= {patch}) of the same regions, got "
                    f"{run.shape} of {name}."
                )
            if not np.isfinite(run).all():
                raise InputError(
                    f"SeriesLoader: runs must be finite, got NaN or infinity in {name}."
                )
        self.windows = [
            (name, start)
            for name, run in self.runs.items()
            for start in range(0, run.shape[1] - patch + 1, frames)
        ]
        self.frames, self.patch, self.batch_size = frames, patch, batch_size
        self.shuffle, self.seed = shuffle, seed
        self.epoch = self.position = 0

    def __len__(self) -> int:
        return -(-len(self.windows) // self.batch_size)

    def __iter__(self) -> Iterator[SeriesBatch]:
        n = len(self.windows)
        order = list(range(n))
        if self.shuffle:
            generator = torch.Generator().manual_seed(self.seed + self.epoch)
            order = torch.randperm(n, generator=generator).tolist()
        while self.position < len(self):
            rows = order[self.position * self.batch_size :][: self.batch_size]
            self.position += 1
            yield self._batch([self.windows[i] for i in rows])
        self.epoch, self.position = self.epoch + 1, 0

    def _batch(self, windows: list[tuple[str, int]]) -> SeriesBatch:
        regions = len(next(iter(self.runs.values())))
        series = torch.zeros(len(windows), regions, self.frames)
        mask = torch.zeros(len(windows), regions, self.frames // self.patch, dtype=torch.bool)
        for i, (name, start) in enumerate(windows):
            part = self.runs[name][:, start : start + self.frames]
            series[i, :, : part.shape[1]] = torch.from_numpy(part)
            mask[i, :, : part.shape[1] // self.patch] = True
        ids = tuple(f"{name}:{start}" for name, start in windows)
        return SeriesBatch(series, None if bool(mask.all()) else mask, ids)

    def state_dict(self) -> dict[str, Any]:
        """Return the epoch and the number of batches of it already yielded."""
        return {"epoch": self.epoch, "position": self.position}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Resume from a saved epoch and position."""
        self.epoch, self.position = int(state["epoch"]), int(state["position"])
