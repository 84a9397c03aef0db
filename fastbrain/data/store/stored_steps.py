"""Integers of a store: int16 steps of the units, or int8 multiples of them with a factor a run.

The values of an int8 run are ``stored * step`` steps of the units of an int16 store, with an
integer `step`. So windows of both kinds are int16 with the same scale.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

StoredType = Literal["int16", "int8"]
LIMITS: dict[str, int] = {"int16": 32767, "int8": 127}
LARGEST_STEP = LIMITS["int16"] // LIMITS["int8"]
_CLIPPED = 1e-4  # largest share of the values of a run beyond the range of int8
_BLOCK = 1 << 22  # values converted at a time


@dataclass(frozen=True, eq=False)
class StoredRun:
    """Voxels of a run as they are stored.

    Parameters
    ----------
    values : ndarray, (T, V) int16 or int8
    step : int
        Steps of the units for each stored step; 1 for int16.
    clipped : int
        Number of values beyond the range of int8; those beyond int16 are counted before.
    snr_db : float or None
        Variance of the int16 values over the variance of the difference, decibels, median over
        voxels, without censored volumes; None for int16.
    """

    values: npt.NDArray[np.int16] | npt.NDArray[np.int8]
    step: int
    clipped: int
    snr_db: float | None


def to_steps(
    values: npt.NDArray[np.int16], dtype: StoredType, *, censored: Sequence[int] = ()
) -> StoredRun:
    """Convert a run to stored integers.

    Parameters
    ----------
    values : ndarray, (T, V) int16
        Steps of the units; -32768 does not occur.
    dtype : str
        For ``"int8"`` the step is the smallest that leaves at most one value in 10,000 beyond ±127
        stored steps; those are clipped. The run is its own reference: no other run is read.
    censored : sequence of int
        Volumes that do not count for the step: residuals of volumes with motion may be so large
        that nothing else would be resolved.
    """
    if dtype == "int16":
        return StoredRun(values, 1, 0, None)
    counted = np.ones(len(values), dtype=bool)
    counted[list(censored)] = False
    counts = np.zeros(LIMITS["int16"] + 1, dtype=np.int64)
    rows = max(1, _BLOCK // values.shape[1])
    blocks = [slice(t, t + rows) for t in range(0, len(values), rows)]
    kept: list[Any] = [counted[block] if len(censored) else slice(None) for block in blocks]
    for block, chosen in zip(blocks, kept, strict=True):
        known = values[block][chosen]
        counts += np.bincount(np.abs(known).ravel(), minlength=len(counts))
    # values above a limit, by limit
    above = counts.sum() - np.cumsum(counts)
    most = int(np.argmax(above <= _CLIPPED * counts.sum()))
    step = min(max(1, -(-most // LIMITS["int8"])), LARGEST_STEP)
    out = np.empty(values.shape, dtype=np.int8)
    clipped = 0
    n = int(counted.sum())
    sums = np.zeros((4, values.shape[1]))
    for block, chosen in zip(blocks, kept, strict=True):
        exact = values[block].astype(np.float32)
        steps = np.rint(exact / np.float32(step))
        clipped += int(np.count_nonzero(np.abs(steps) > LIMITS["int8"]))
        out[block] = np.clip(steps, -LIMITS["int8"], LIMITS["int8"], out=steps)
        lost = exact - out[block].astype(np.float32) * np.float32(step)
        for row, part in zip(sums, (exact, exact**2, lost, lost**2), strict=True):
            row += part[chosen].sum(axis=0, dtype=np.float64)
    signal = sums[1] / n - (sums[0] / n) ** 2
    noise = sums[3] / n - (sums[2] / n) ** 2
    varying = (signal > 0) & (noise > 0)
    ratio = np.median(signal[varying] / noise[varying]) if varying.any() else np.inf
    decibels = round(10 * float(np.log10(ratio)), 2) if np.isfinite(ratio) else None
    return StoredRun(out, step, clipped, decibels)


def from_steps(stored: npt.NDArray[Any], step: int) -> npt.NDArray[np.int16]:
    """Convert stored integers (...) to int16 steps of the units; int16 is returned as it is."""
    if stored.dtype == np.int16:
        return stored
    return np.multiply(stored, np.int16(step), dtype=np.int16)


@dataclass(frozen=True, eq=False)
class StoredArray:
    """A run on disk, (T, n_tokens, P), of which slices are read as int16 steps of the units.

    Parameters
    ----------
    stored : ndarray, (T, n_tokens, P) int16 or int8
        A memory map.
    step : int
        Steps of the units for each stored step.
    """

    stored: npt.NDArray[Any]
    step: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes (T, n_tokens, P)."""
        return self.stored.shape

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return self.stored.ndim

    @property
    def dtype(self) -> np.dtype[np.int16]:
        """Type of what is read."""
        return np.dtype(np.int16)

    def __len__(self) -> int:
        return len(self.stored)

    def __getitem__(self, key: Any) -> npt.NDArray[np.int16]:
        return from_steps(self.stored[key], self.step)

    def __iter__(self) -> Iterator[npt.NDArray[np.int16]]:
        return (self[t] for t in range(len(self)))

    def reshape(self, *shape: int) -> StoredArray:
        """Return the same run in another shape."""
        return StoredArray(self.stored.reshape(*shape), self.step)
