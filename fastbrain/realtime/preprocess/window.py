"""The last volumes of a run as a window of the model: detrended, in store units, within limits."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch

from ...data.store.convert import Packing
from ...data.store.detrend import LIMIT, MAX_DEAD, MIN_MEAN, MIN_STD, STEP
from ...data.store.store import VoxelStore
from ...data.store.window_limits import correlation, window_statistics
from ...errors import InputError
from .drift import DriftFit
from .settings import PreprocessSettings

_MEMORY = 2.0  # high-pass periods
_MEMORY_OF_LINE_S = 300.0
_PRIOR_VOLUMES = 20.0  # weight of the usual spread of the brain, before a voxel's own is known


def refuse_denoised(like: VoxelStore, *, function: str) -> None:
    """Raise for a store with denoising: confounds are known after the run, not volume by volume.

    Raises
    ------
    InputError
        Confounds were regressed out of the store.
    """
    strategy = like.denoising
    if strategy is not None and strategy.regresses:
        raise InputError(
            f"{function}: like must be prepared without confounds, as those of a live run are not "
            f"known, got a store without {strategy.regressors()}. Train on a store that was "
            "prepared without --confounds; a filter is followed live."
        )


class RunWindow:
    """Statistics of a run, and its last volumes.

    Parameters
    ----------
    like : VoxelStore
        Preparation of the model.
    settings : PreprocessSettings

    Attributes
    ----------
    voxels : ndarray, (V,) int64
        Flat (Z, Y, X) index of the brain voxels on the grid of the model.
    """

    def __init__(self, like: VoxelStore, settings: PreprocessSettings) -> None:
        refuse_denoised(like, function="RunWindow")
        self._like, self._settings = like, settings
        self._packing = Packing(like.grid)
        self.voxels = self._packing.voxels
        self._frames = like.window_spec.window_trs
        high_pass_s, tr = like.info.high_pass_s, like.tr
        n = self.voxels.size
        if settings.n_volumes is not None:
            self.drift = DriftFit.of_run(settings.n_volumes, n, tr=tr, high_pass_s=high_pass_s)
        else:
            usual = _MEMORY_OF_LINE_S if high_pass_s is None else _MEMORY * high_pass_s
            memory_s = settings.memory_s or usual
            self.drift = DriftFit.endless(n, tr=tr, high_pass_s=high_pass_s, memory_s=memory_s)
        self._warm_up = max(self._frames, math.ceil(settings.warm_up_s / tr))
        self._last = torch.zeros(self._frames, n)
        self._indices = np.full(self._frames, -1, dtype=np.int64)
        self._replaced = np.zeros(self._frames, dtype=bool)
        self._alive = like.inv_std > 0
        self._limits = like.limits

    def add(self, index: int, values: npt.NDArray[np.float32] | None) -> None:
        """Add the next volume (V,); None repeats the one before and enters no statistics."""
        newest = self._last[-1].clone() if values is None else torch.from_numpy(values)
        self._last = torch.cat([self._last[1:], newest[None]])
        self._indices = np.append(self._indices[1:], index)
        self._replaced = np.append(self._replaced[1:], values is None)
        if values is not None:
            self.drift.update(index, newest.to(torch.float64))

    def skip(self, index: int, missing: int) -> None:
        """Repeat the last volume for volumes that are missing before `index`."""
        for past in range(max(index - missing, index - self._frames), index):
            self.add(past, None)

    def onset_s(self) -> float:
        """Onset of the stimulus with a response that begins with the window, seconds."""
        spec = self._like.window_spec
        before = spec.delay_s + spec.onset_offset_s - self._settings.start_time_s
        first = int(self._indices[-1]) - self._frames + 1
        return round(first * self._like.tr - before, 6)

    def window(self) -> tuple[npt.NDArray[np.int16] | None, str]:
        """Return the window (F, n_tokens, P), or None and why it is held."""
        reason = self._unready()
        if reason:
            return None, reason
        values, dead = self._steps()
        if dead > MAX_DEAD:
            return None, f"{dead:.0%} of the brain voxels have no signal (at most {MAX_DEAD:.0%})"
        window = self._packing.pack(values)
        row = window_statistics(
            [window],
            mean=self._like.mean,
            inv_std=self._like.inv_std,
            scale=self._like.scale,
            mean_image=self._like.mean_image,
        )[0]
        image = self._packing.pack(self.drift.moments.mean.numpy().astype(np.float32))
        shared = correlation(image[self._alive], self._like.mean_image[self._alive])
        fault = self._limits.fault(row, round(shared, 4))
        return (None, fault) if fault else (window, "")

    def _unready(self) -> str:
        count = self.drift.moments.count
        # as offline, a fit needs four volumes more than it has cosines
        needed = max(self._warm_up, self.drift.drifts + 3)
        if count < needed or self._indices[0] < 0:
            return f"warming up: {count} of {needed} volumes"
        replaced = int(self._replaced.sum())
        if replaced > self._settings.max_replaced * self._frames:
            return f"{replaced} of {self._frames} volumes of the window are missing or not usable"
        return ""

    def _steps(self) -> tuple[npt.NDArray[np.int16], float]:
        """Values (F, V) in the steps of the store, and the share of dead voxels."""
        moments = self.drift.moments
        x = self.drift.residuals(self._indices, self._last.to(torch.float64))
        spread, mean = self.drift.spread(), moments.mean
        size = mean.abs()
        dead = spread <= MIN_STD * size.clamp(min=MIN_STD)
        if self._like.units == "psc":
            dead |= mean <= max(0.0, MIN_MEAN * float(mean.median()))
            unit = mean / 100
        else:
            unit = spread if self._settings.statistics == "run so far" else self._shrunk(spread)
        x *= torch.where(dead, 0.0, 1 / (unit * STEP[self._like.units]))
        steps = x.round_().clamp_(-LIMIT, LIMIT).to(torch.int16).numpy()
        return steps, float(dead.to(torch.float64).mean())

    def _shrunk(self, spread: torch.Tensor) -> torch.Tensor:
        """Average the variance of each voxel with the usual one of voxels of its intensity."""
        moments = self.drift.moments
        usual = moments.mean.abs() * (spread / moments.mean.abs().clamp(min=MIN_STD)).median()
        own = moments.weight
        total = own + _PRIOR_VOLUMES
        return ((own * spread.square() + _PRIOR_VOLUMES * usual.square()) / total).sqrt()
