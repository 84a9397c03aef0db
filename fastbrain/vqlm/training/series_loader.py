"""Batches of windows of region series, in an order that can be resumed exactly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..._shards import Shard
from ...errors import InputError
from ...training.resumable import ResumableLoader


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
    shard : Shard or None
    """

    series: Tensor
    mask: Tensor | None
    trial_ids: tuple[str, ...]
    shard: Shard | None = None

    @property
    def runs(self) -> tuple[str, ...]:
        """Run of each window."""
        return tuple(i.rpartition(":")[0] for i in self.trial_ids)


class SeriesLoader(ResumableLoader[SeriesBatch]):
    """Loader of windows of region series.

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
        if patch < 1 or frames < patch or frames % patch or not runs:
            raise InputError(
                "SeriesLoader: frames must be a multiple of patch, and runs must hold a run, got "
                f"{frames}, {patch} and {len(runs)} runs."
            )
        super().__init__(batch_size=batch_size, shuffle=shuffle, seed=seed)
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
        self.frames, self.patch = frames, patch

    def _samples(self) -> int:
        return len(self.windows)

    def _batch(self, rows: list[int]) -> SeriesBatch:
        windows = [self.windows[i] for i in rows]
        regions = len(next(iter(self.runs.values())))
        series = torch.zeros(len(windows), regions, self.frames)
        mask = torch.zeros(len(windows), regions, self.frames // self.patch, dtype=torch.bool)
        for i, (name, start) in enumerate(windows):
            part = self.runs[name][:, start : start + self.frames]
            series[i, :, : part.shape[1]] = torch.tensor(part)
            mask[i, :, : part.shape[1] // self.patch] = True
        ids = tuple(f"{name}:{start}" for name, start in windows)
        return SeriesBatch(series, None if bool(mask.all()) else mask, ids)
