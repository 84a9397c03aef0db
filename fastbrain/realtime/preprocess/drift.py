"""Remove slow drifts with past volumes alone, in memory that does not grow.

Least squares of every voxel on drift regressors, kept as centred sums of products: ``C_xx``
(K, K) and ``C_xy`` (K, V), updated by one outer product for a volume. Two sets of regressors:

- :meth:`DriftFit.of_run`: those of :func:`fastbrain.data.store.detrend.drift_basis` for a run of
  known length. At the last volume the fit is that of the whole run.
- :meth:`DriftFit.endless`: sines and cosines slower than the cut-off, with exponential forgetting,
  for runs of any length.

A short past cannot tell many slow regressors apart, and to fit them all would remove everything.
For a run of known length, as many drifts are fitted as a run of the length so far has: the line,
and of the cosines the directions with the largest variance over the past. The endless fit is a
ridge regression: a drift must outweigh the noise of a few volumes. With eight, windows of simulated
runs correlate best with those of the whole run, over drifts of 0.3 to 3 % beside noise of 1 %.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ...data.readers.timing import TOLERANCE
from ...data.store.denoising.drifts import drift_basis
from ...errors import InputError
from .moments import Moments

Array = npt.NDArray[np.float64]
_PERIOD = 4.0  # of the slowest sine, in memories: older observations weigh less than 2 %
_LONGEST = 16  # memory, in high-pass periods
_RIDGE = 8.0  # volumes
_SMALLEST = 1e-10  # of the largest variance of a direction that is fitted


class DriftFit:
    """Drift of all voxels so far.

    Parameters
    ----------
    rows : callable
        Maps volume numbers (F,) to the regressors (F, K) float64, without a constant. Without a
        ridge the first one is always fitted: the line.
    n_voxels : int
    drifts_per_volume : float
        Cosines that a volume adds to those that the filter removes, ``2 · TR / cut-off``.
    kept : float
        Weight that an observation keeps from one volume to the next, 0..1.
    ridge : float
        Volumes of noise that a drift must outweigh; 0 fits the leading directions without penalty.

    Attributes
    ----------
    moments : Moments
        Mean and squared deviations of the voxels.
    """

    def __init__(
        self,
        rows: Callable[[Array], Array],
        n_voxels: int,
        *,
        drifts_per_volume: float,
        kept: float = 1.0,
        ridge: float = 0.0,
    ) -> None:
        width = rows(np.zeros(1)).shape[1]
        self.moments = Moments(n_voxels)
        self._rows, self._per_volume, self._kept = rows, drifts_per_volume, kept
        self._ridge = ridge
        self._x = Moments(width)
        self._xx = torch.zeros(width, width, dtype=torch.float64)
        self._xy = torch.zeros(width, n_voxels, dtype=torch.float64)
        self._last: int | None = None
        self._elapsed = 0.0

    @classmethod
    def of_run(
        cls, n_volumes: int, n_voxels: int, *, tr: float, high_pass_s: float | None
    ) -> DriftFit:
        """Fit the drifts of a run of `n_volumes`; volume numbers must lie below that.

        Raises
        ------
        InputError
            The run is too short for its filter.
        """
        basis = drift_basis(n_volumes, tr, high_pass_s).astype(np.float64)[:, 1:]

        def rows(index: Array) -> Array:
            return np.asarray(basis[index.astype(np.int64)])

        per_volume = 0.0 if high_pass_s is None else 2 * tr / high_pass_s
        return cls(rows, n_voxels, drifts_per_volume=per_volume)

    @classmethod
    def endless(
        cls, n_voxels: int, *, tr: float, high_pass_s: float | None, memory_s: float
    ) -> DriftFit:
        """Fit the drifts of a run of unknown length; observations decay with `memory_s`.

        Raises
        ------
        InputError
            `memory_s` is more than 16 high-pass periods, which would take too many regressors.
        """
        if high_pass_s is not None and memory_s > _LONGEST * high_pass_s:
            raise InputError(
                f"DriftFit.endless: memory_s must be at most {_LONGEST} high-pass periods of "
                f"{high_pass_s:g} s, got {memory_s:g}. Use statistics of the run so far."
            )
        kept = math.exp(-tr / memory_s)
        if high_pass_s is None:
            # a line alone; seconds by memory keep the sums well scaled
            return cls(
                lambda index: index[:, None] * (tr / memory_s),
                n_voxels,
                drifts_per_volume=0.0,
                kept=kept,
            )
        period_s = _PERIOD * max(memory_s, high_pass_s)
        orders = np.arange(1, math.floor(period_s / high_pass_s + TOLERANCE) + 1)
        speeds = orders * (2 * math.pi * tr / period_s)

        def rows(index: Array) -> Array:
            phases = np.multiply.outer(index, speeds)
            return np.concatenate([np.cos(phases), np.sin(phases)], axis=1)

        per_volume = 2 * tr / high_pass_s
        return cls(rows, n_voxels, drifts_per_volume=per_volume, kept=kept, ridge=_RIDGE)

    @property
    def drifts(self) -> int:
        """Number of drifts that are fitted beside the constant."""
        order = math.floor(self._elapsed * self._per_volume + TOLERANCE)
        return min(1 + order, len(self._xx))

    def update(self, index: int, values: Tensor) -> None:
        """Add a volume.

        Parameters
        ----------
        index : int
            Number of the volume in the run, larger than all before; missing ones are left out of
            the fit.
        values : Tensor, (V,) float64
            Finite.
        """
        passed = index + 1 if self._last is None else index - self._last
        kept = self._kept**passed
        self._last = index
        # volumes that a run of this length has, with the weights of forgetting
        grown = passed if self._kept == 1 else (1 - kept) / (1 - self._kept)
        self._elapsed = kept * self._elapsed + grown
        row = torch.from_numpy(self._rows(np.array([index], dtype=np.float64))[0])
        x, factor = self._x.update(row, kept)
        y, _ = self.moments.update(values, kept)
        self._xx.addr_(x, x, beta=kept, alpha=factor)
        self._xy.addr_(x, y, beta=kept, alpha=factor)

    def residuals(self, indices: npt.NDArray[np.int64], values: Tensor) -> Tensor:
        """Subtract mean and drift, by the fit so far.

        Parameters
        ----------
        indices : ndarray, (F,) int64
        values : Tensor, (F, V) float64

        Returns
        -------
        Tensor, (F, V) float64
        """
        x = torch.from_numpy(self._rows(indices.astype(np.float64))) - self._x.mean
        directions, sizes = self._directions()
        weights = ((x @ directions) / (sizes + self._ridge)) @ directions.T  # (F, K)
        return torch.addmm(values - self.moments.mean, weights, self._xy, alpha=-1)

    def spread(self) -> Tensor:
        """Return the standard deviation (V,) float64 around mean and drift so far."""
        directions, sizes = self._directions()
        weights = (sizes + 2 * self._ridge) / (sizes + self._ridge).square()
        explained = weights @ (directions.T @ self._xy).square_()
        return ((self.moments.squares - explained).clamp_(min=0) / self.moments.weight).sqrt_()

    def _directions(self) -> tuple[Tensor, Tensor]:
        """Directions (K, R) that are fitted, with ``d.T @ C_xx @ d`` diagonal, and that (R,)."""
        if self._ridge:
            sizes, directions = torch.linalg.eigh(self._xx)
            return directions, sizes
        line, size = self._xx[0], self._xx[0, 0]
        if not size > 0:
            return self._xx[:, :0], size[None][:0]
        # cosines without what the line explains
        sizes, directions = torch.linalg.eigh(self._xx - torch.outer(line, line) / size)
        first = len(sizes) - (self.drifts - 1)
        sizes, directions = sizes[first:], directions[:, first:].clone()
        directions[0] -= (line @ directions) / size
        usable = sizes > _SMALLEST * size
        first_column = torch.zeros(len(line), 1, dtype=torch.float64)
        first_column[0] = 1
        found = torch.cat([first_column, directions[:, usable]], dim=1)
        return found, torch.cat([size[None], sizes[usable]])
