"""Read voxel matrices from an array or a voxel store, a block of columns at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ..._arrays import brain_of
from ...errors import InputError
from .store import VoxelStore
from .stored_steps import StoredArray


class VoxelRows(Protocol):
    """A matrix (N, V) read a block of columns at a time, so that it need not fit into memory."""

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows N and of voxels V."""

    @property
    def scale(self) -> float:
        """Factor that converts the values of :meth:`columns` to units."""

    def columns(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Read voxels `start` to `stop` of every row, (N, stop - start), without scaling."""


class ArrayRows:
    """Rows of an array or memory map.

    Parameters
    ----------
    values : ndarray, (T, V)
        Any real type; a memory map stays on disk.
    rows : array_like of int, optional
        Rows to use, for example those of the training part. Default: all.
    voxels : ndarray, (V,) bool, optional
        Region to use. Default: all.

    Raises
    ------
    InputError
        Shapes disagree, a row does not exist, or the region is empty.
    """

    def __init__(
        self,
        values: npt.NDArray[Any],
        rows: npt.ArrayLike | None = None,
        voxels: npt.ArrayLike | None = None,
    ) -> None:
        if values.ndim != 2:
            raise InputError(f"ArrayRows: values must be (T, V), got {values.shape}.")
        self._values = values
        self._rows = np.arange(len(values)) if rows is None else np.asarray(rows)
        self._voxels = _chosen(voxels, values.shape[1])
        whole = self._rows.ndim == 1 and np.issubdtype(self._rows.dtype, np.integer)
        if not whole or ((self._rows < 0) | (self._rows >= len(values))).any():
            raise InputError(
                f"ArrayRows: rows must be whole numbers in [0, {len(values)}), got "
                f"{self._rows.dtype} of shape {self._rows.shape}."
            )

    @property
    def shape(self) -> tuple[int, int]:
        """Rows N and voxels V."""
        return len(self._rows), len(self._voxels)

    @property
    def scale(self) -> float:
        """1: values are not scaled."""
        return 1.0

    def columns(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Read voxels `start` to `stop` of every row, (N, stop - start)."""
        return _block(self._values, self._rows, self._voxels[start:stop])


class StoreRows:
    """Volumes of a voxel store as rows of a matrix.

    Parameters
    ----------
    store : VoxelStore
    trial_ids : sequence of str
        Trials to read the windows of; a volume shared by two windows is one row.
    region : ndarray, (Z, Y, X) bool, optional
        Voxels to use, for example one of ``fastbrain.evaluation.atlas_regions``. Default: all.

    Raises
    ------
    InputError
        A trial does not exist, or the region is empty or of another shape.
    """

    def __init__(
        self,
        store: VoxelStore,
        trial_ids: Sequence[str],
        region: npt.NDArray[np.bool_] | None = None,
    ) -> None:
        unknown = [t for t in trial_ids if t not in store.by_id]
        if unknown or not trial_ids:
            raise InputError(
                f"StoreRows: trial_ids must be trials of the store, got {len(trial_ids)} of which "
                f"{len(unknown)} are not {unknown[:1]}."
            )
        trials = [store.by_id[t] for t in trial_ids]
        volumes: dict[str, set[int]] = {}
        for trial in trials:
            own = range(trial.start, trial.start + trial.frames)
            volumes.setdefault(trial.run_id, set()).update(own)
        self._store = store
        self._volumes = {run: np.array(sorted(seen)) for run, seen in sorted(volumes.items())}
        inside = store.grid.patch_mask
        if region is not None:
            inside = inside & store.grid.pack(
                brain_of(np.asanyarray(region), where="StoreRows: region", error=InputError)
            )
        self._voxels = _chosen(inside.ravel(), inside.size)
        first = np.cumsum([0, *(len(v) for v in self._volumes.values())])
        self._first = dict(zip(self._volumes, first.tolist(), strict=False))
        self._windows = [(t.run_id, t.start, t.frames) for t in trials]

    @property
    def shape(self) -> tuple[int, int]:
        """Rows N and voxels V."""
        return sum(map(len, self._volumes.values())), len(self._voxels)

    @property
    def scale(self) -> float:
        """Store units per stored step."""
        return float(self._store.scale)

    @property
    def voxels(self) -> npt.NDArray[np.int64]:
        """Position (V,) of each voxel in the flat arrays of the store, ``mean`` for example."""
        return self._voxels

    def columns(self, start: int, stop: int) -> npt.NDArray[np.int16]:
        """Read voxels `start` to `stop` of every volume, (N, stop - start), without scaling."""
        voxels = self._voxels[start:stop]
        parts = [
            _block(flat, rows, voxels)
            for run, rows in self._volumes.items()
            for volumes in [self._store.volumes(run)]
            for flat in [volumes.reshape(len(volumes), -1)]
        ]
        return np.concatenate(parts)

    def windows(self, rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Rearrange one row per volume, (N, ...), into the windows of the trials, (B, F, ...)."""
        if len(rows) != self.shape[0]:
            raise InputError(
                f"StoreRows.windows: rows must be ({self.shape[0]}, ...), got {rows.shape}."
            )
        frames = {n for _, _, n in self._windows}
        if len(frames) > 1:
            raise InputError(
                f"StoreRows.windows: all windows must have one length, got {sorted(frames)}."
            )
        index = [
            self._first[run] + np.searchsorted(self._volumes[run], np.arange(start, start + n))
            for run, start, n in self._windows
        ]
        return rows[np.stack(index)]


def _chosen(voxels: npt.ArrayLike | None, size: int) -> npt.NDArray[np.int64]:
    if voxels is None:
        return np.arange(size)
    mask = np.asarray(voxels)
    if mask.shape != (size,) or mask.dtype != np.bool_ or not mask.any():
        raise InputError(
            f"VoxelRows: the region must be ({size},) bool with a voxel inside, got {mask.dtype} "
            f"of shape {mask.shape}."
        )
    return np.flatnonzero(mask)


def _block(
    values: npt.NDArray[Any] | StoredArray, rows: npt.NDArray[Any], voxels: npt.NDArray[np.int64]
) -> npt.NDArray[Any]:
    """Select rows and columns of a matrix, reading one slice of each row."""
    if not voxels.size:
        return np.empty((len(rows), 0), dtype=values.dtype)
    low, high = int(voxels[0]), int(voxels[-1]) + 1
    block = values[:, low:high]
    if not np.array_equal(rows, np.arange(len(values))):
        block = block[rows]
    return block if high - low == len(voxels) else block[:, voxels - low]
