"""The voxel store: a cohort once converted, so that a window is one slice of a memory map.

Layout (version 1)::

    manifest.json      written last: a folder without it is unfinished
    grid.npz           mask, kernel, stride, kept patches, affine
    runs/<run_id>.npy  (T, n_tokens, P) int16, patch-major, `scale` units a step
    mean.npy inv_std.npy  (n_tokens, P) float32, of the training windows alone
    trials.parquet split.json
    prepare.json runs/<run_id>.json  settings and results of preparation, for resuming
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import _io
from .._io import read_json, safe_join, write_atomic
from ..errors import FastbrainError, StoreError
from ..grid import TokenGrid
from .events import Trial, WindowSpec
from .manifest import Manifest
from .splits import Split

_LATER = ("story", "family", "site", "instruction")
# entries of the manifest that decide no value
_BESIDE = ("root", "fastbrain", "filter")


@dataclass(frozen=True, eq=False)
class VoxelStore:
    """A prepared cohort, opened for reading. Use :meth:`open`.

    Parameters
    ----------
    path : Path
    info : Manifest
    grid : TokenGrid
    affine : ndarray, (4, 4) float64
        Voxel (x, y, z) to world mm.
    mean, inv_std : ndarray, (n_tokens, P) float32
        Of ``scale · stored`` over the training windows; `inv_std` is 0 outside the mask and for
        constant voxels.
    trials : list of Trial
    split : Split
    """

    path: Path
    info: Manifest
    grid: TokenGrid
    affine: npt.NDArray[np.float64]
    mean: npt.NDArray[np.float32]
    inv_std: npt.NDArray[np.float32]
    trials: list[Trial]
    split: Split
    _maps: dict[str, npt.NDArray[np.int16]] = field(default_factory=dict, repr=False)

    @classmethod
    def open(cls, path: str | Path, *, verify: bool = False) -> VoxelStore:
        """Open a finished store; voxels stay on disk.

        Parameters
        ----------
        path : str or Path
        verify : bool
            Whether to compare every file with its sha256 first (reads everything once).

        Raises
        ------
        StoreError
            The store is unfinished, damaged, or of another layout version.
        LeakError
            Its split lets the test part be seen from the training part.
        """
        root = Path(path)
        info = Manifest.read(root)
        for name in info.files:
            if not os.path.isfile(safe_join(root, name)):
                raise StoreError(f"VoxelStore.open: {root / name} must exist: the manifest has it.")
        if verify:
            _io.verify(root, info.files)
        grid, affine = _read_grid(root / "grid.npz", info)
        size = (grid.n_tokens, grid.patch_voxels)
        trials = read_trials_table(root / "trials.parquet")
        _check_windows(root, info, trials)
        split = _read_split(root / "split.json")
        # a store whose parts leak into each other never opens
        split.check(trials)
        return cls(
            path=root,
            info=info,
            grid=grid,
            affine=affine,
            mean=np.asarray(_read_array(root / "mean.npy", size, np.float32)),
            inv_std=np.asarray(_read_array(root / "inv_std.npy", size, np.float32)),
            trials=trials,
            split=split,
        )

    @property
    def tr(self) -> float:
        """Seconds between volumes."""
        return self.info.tr

    @property
    def scale(self) -> float:
        """Units (percent or standard deviations) a stored step."""
        return self.info.scale

    @property
    def units(self) -> str:
        """``"psc"``, percent signal change, or ``"zscore"``."""
        return self.info.units

    @property
    def window_spec(self) -> WindowSpec:
        """Where windows lie relative to stimuli."""
        return WindowSpec(**self.info.window)

    @property
    def fit_runs(self) -> tuple[str, ...]:
        """Runs with training windows: those behind `mean` and `inv_std`."""
        return tuple(self.info.fit["runs"])

    @property
    def manifest(self) -> dict[str, Any]:
        """The manifest as JSON values."""
        return self.info.to_json()

    @cached_property
    def by_id(self) -> dict[str, Trial]:
        """Trials by trial id."""
        return {trial.trial_id: trial for trial in self.trials}

    def run(self, run_id: str) -> npt.NDArray[np.int16]:
        """All volumes of a run, (T, n_tokens, P) int16, a read-only memory map."""
        if run_id not in self._maps:
            if run_id not in self.info.runs:
                raise StoreError(
                    f"VoxelStore.run: run_id must be a run of {self.path}, got {run_id!r}."
                )
            n_volumes = self.info.runs[run_id]["n_volumes"]
            size = (n_volumes, self.grid.n_tokens, self.grid.patch_voxels)
            path = safe_join(self.path, "runs", f"{run_id}.npy")
            self._maps[run_id] = _read_array(path, size, np.int16, mmap=True)
        return self._maps[run_id]

    def window(self, trial_id: str) -> npt.NDArray[np.int16]:
        """The window of a trial, (F, n_tokens, P) int16, a view of the memory map."""
        trial = self.by_id.get(trial_id)
        if trial is None:
            raise StoreError(
                f"VoxelStore.window: trial_id must be a trial of {self.path}, got {trial_id!r}."
            )
        return self.run(trial.run_id)[trial.start : trial.start + trial.frames]

    def clip(self, trial_id: str) -> Path:
        """File of the video shown in a trial.

        Raises
        ------
        StoreError
            The trial has no clip, or the cohort's folder has moved.
        """
        trial = self.by_id.get(trial_id)
        if trial is None or not trial.clip:
            raise StoreError(
                f"VoxelStore.clip: {trial_id!r} must be a trial with a clip, got none. "
                "Train with stimulus='text' where there are no videos."
            )
        path = safe_join(self.info.root, trial.clip)
        if not path.is_file():
            raise StoreError(
                f"VoxelStore.clip: {path} must exist. Was the cohort moved after it was prepared?"
            )
        return path

    def fingerprint(self) -> str:
        """Short hash of all that decides a window's values: equal stores, equal fingerprints."""
        parts = {k: v for k, v in self.manifest.items() if k not in _BESIDE}
        text = json.dumps(parts, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def _read_grid(path: Path, info: Manifest) -> tuple[TokenGrid, npt.NDArray[np.float64]]:
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            kernel, stride = arrays["kernel"].tolist(), arrays["stride"].tolist()
            grid = TokenGrid(arrays["mask"], tuple(kernel), tuple(stride), arrays["kept"])
            affine = arrays["affine"]
            fits = grid.fingerprint() == info.grid and affine.shape == (4, 4)
    except FastbrainError:
        raise
    except Exception as error:
        # a damaged archive fails in a dozen ways, numpy's header parser in a dozen more
        raise StoreError(f"VoxelStore.open: {path} must be readable, got '{error}'.") from error
    if not fits:
        raise StoreError(f"VoxelStore.open: {path} must be the grid of the manifest, got another.")
    return grid, affine


def _read_array(
    path: Path, shape: tuple[int, ...], dtype: type[np.generic], *, mmap: bool = False
) -> npt.NDArray[Any]:
    try:
        array = np.load(path, mmap_mode="r" if mmap else None, allow_pickle=False)
    except Exception as error:
        # numpy hands the header to Python's own parser, and its errors to us
        raise StoreError(f"VoxelStore: {path} must be readable, got '{error}'.") from error
    if array.shape != shape or array.dtype != dtype:
        raise StoreError(
            f"VoxelStore: {path} must be {np.dtype(dtype)} of shape {shape}, got {array.dtype} of "
            f"shape {array.shape}. The file is damaged."
        )
    return np.asarray(array)


def _read_split(path: Path) -> Split:
    try:
        return Split.from_json(read_json(path))
    except FastbrainError as error:
        raise StoreError(f"VoxelStore.open: {path} must be a split, got '{error}'.") from error


def _check_windows(root: Path, info: Manifest, trials: list[Trial]) -> None:
    for t in trials:
        length = info.runs[t.run_id]["n_volumes"] if t.run_id in info.runs else 0
        if t.frames < 1 or t.start < 0 or t.start + t.frames > length:
            raise StoreError(
                f"VoxelStore.open: {root} trial {t.trial_id} must lie inside its run, got volumes "
                f"{t.start}..{t.start + t.frames} of {length}."
            )


def read_trials_table(path: Path) -> list[Trial]:
    """Trials of a ``trials.parquet``."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
        rows = table.to_pylist()
    except (OSError, ValueError, pa.ArrowException) as error:
        raise StoreError(f"VoxelStore.open: {path} must be readable, got '{error}'.") from error
    # stores of before have no such columns: nothing is known of these fields
    schema = _schema()
    for name in _LATER:
        if name not in table.column_names:
            schema = schema.remove(schema.get_field_index(name))
    if not table.schema.equals(schema) or any(None in row.values() for row in rows):
        raise StoreError(
            f"VoxelStore.open: {path} must have the columns {_schema().names} without gaps."
        )
    return [Trial(**row) for row in rows]


def write_trials_table(path: Path, trials: list[Trial]) -> None:
    """Write trials as Parquet, atomically; equal trials give equal bytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pylist([asdict(trial) for trial in trials], schema=_schema())
    write_atomic(path, lambda file: pq.write_table(table, file))


def _schema() -> Any:
    import pyarrow as pa

    kinds = {"str": pa.string(), "float": pa.float64(), "int": pa.int64()}
    return pa.schema([(f.name, kinds[str(f.type)]) for f in fields(Trial)])
