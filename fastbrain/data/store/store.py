"""Voxel store: a converted cohort, in which a window is one slice of a memory map.

Layout (version 2)::

    manifest.json      settings, digests of all files read and of itself; written last
    grid.npz           mask, kernel, stride, kept patches, affine
    runs/<run_id>.npy  (T, n_tokens, P) int16, patch-major, `scale` units per step
    mean.npy inv_std.npy  (n_tokens, P) float32, from the training windows only
    trials.parquet split.json
    prepare.json runs/<run_id>.json  settings and results of preparation, for resuming

The manifest and all small files are compared with their digests each time a store is opened; a run
when it is first used, or on request (``verify=True``).
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from ..._arguments import checked
from ..._arrays import read_npy, read_npz
from ..._io import read_json, safe_join, write_atomic
from ..._parquet import read_columns
from ...errors import CohortError, FastbrainError, InputError, StoreError
from ...grid import TokenGrid
from ..readers.events import Trial, WindowSpec
from ..splits.split import Split
from .integrity import check_files, check_run, check_windows, is_grid_of
from .manifest import Manifest

_LATER = ("story", "family", "site", "instruction")
# entries of the manifest that do not affect the values of a window
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
        Mean and 1/std of ``scale · stored`` over the training windows; both are 0 outside the mask
        and for constant voxels.
    trials : list of Trial
    split : Split
    cohort : str
        Folder of the cohort, with the clips in ``stimuli``; "" if it is not known.
    """

    path: Path
    info: Manifest
    grid: TokenGrid
    affine: npt.NDArray[np.float64]
    mean: npt.NDArray[np.float32]
    inv_std: npt.NDArray[np.float32]
    trials: list[Trial]
    split: Split
    cohort: str = ""
    _maps: dict[str, npt.NDArray[np.int16]] = field(default_factory=dict, repr=False)

    @classmethod
    @checked
    def open(
        cls, path: str | Path, *, verify: bool = False, cohort: str | Path | None = None
    ) -> VoxelStore:
        """Open a finished store; voxels stay on disk.

        All files but the runs are compared with their sha256. A run is compared when it is first
        used, and not again while size, times and inode of its file stay the same.

        Parameters
        ----------
        path : str or Path
        verify : bool
            Whether to compare every byte of the runs now: damage by the disk itself changes no
            modification time.
        cohort : str or Path, optional
            Current folder of the cohort, for its clips; default: where it was prepared.

        Raises
        ------
        StoreError
            The store is unfinished, damaged, or of another layout version.
        LeakError
            Parts of its split share trials, held-out values or volumes.
        """
        root = Path(os.path.abspath(path))
        info = Manifest.read(root)
        check_files(root, info, runs=verify)
        grid, affine = _read_grid(root / "grid.npz", info)
        size = (grid.n_tokens, grid.patch_voxels)
        trials = read_trials_table(root / "trials.parquet")
        check_windows(root, info, trials)
        split = _read_split(root / "split.json")
        # a store with a leaking split cannot be opened
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
            cohort=info.root if cohort is None else os.path.abspath(cohort),
        )

    @property
    def tr(self) -> float:
        """Seconds between volumes."""
        return self.info.tr

    @property
    def scale(self) -> float:
        """Units (percent or standard deviations) per stored step."""
        return self.info.scale

    @property
    def units(self) -> str:
        """``"psc"``, percent signal change, or ``"zscore"``."""
        return self.info.units

    @property
    def window_spec(self) -> WindowSpec:
        """Position of windows relative to stimuli."""
        return WindowSpec(**self.info.window)

    @property
    def fit_runs(self) -> tuple[str, ...]:
        """Runs with training windows, from which `mean` and `inv_std` were computed."""
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
        """Return all volumes of a run, (T, n_tokens, P) int16, as a read-only memory map.

        Raises
        ------
        StoreError
            There is no such run, or its file is damaged.
        """
        if run_id not in self._maps:
            if run_id not in self.info.runs:
                raise StoreError(
                    f"VoxelStore.run: run_id must be a run of {self.path}, got {run_id!r}."
                )
            n_volumes = self.info.runs[run_id]["n_volumes"]
            size = (n_volumes, self.grid.n_tokens, self.grid.patch_voxels)
            path = check_run(self.path, self.info, run_id)
            self._maps[run_id] = _read_array(path, size, np.int16, mmap=True)
        return self._maps[run_id]

    def window(self, trial_id: str) -> npt.NDArray[np.int16]:
        """Return the window of a trial, (F, n_tokens, P) int16, as a view of the memory map."""
        trial = self.by_id.get(trial_id)
        if trial is None:
            raise StoreError(
                f"VoxelStore.window: trial_id must be a trial of {self.path}, got {trial_id!r}."
            )
        return self.run(trial.run_id)[trial.start : trial.start + trial.frames]

    def clip(self, trial_id: str) -> Path:
        """Return the file of the video shown in a trial, in the cohort's folder ``stimuli``.

        Raises
        ------
        StoreError
            The trial has no clip, the cohort's folder is not known or has moved, or the path
            leaves that folder after links are resolved.
        """
        trial = self.by_id.get(trial_id)
        if trial is None or not trial.clip:
            raise StoreError(
                f"VoxelStore.clip: {trial_id!r} must be a trial with a clip, got none. "
                "Train on texts (--stimulus text) if there are no videos."
            )
        parts = PurePosixPath(trial.clip).parts
        if not self.cohort or parts[0] != "stimuli" or ".." in parts:
            raise StoreError(
                f"VoxelStore.clip: {trial.clip} must lie in 'stimuli' of the cohort, got the "
                f"cohort {self.cohort!r}. Name its folder: VoxelStore.open(..., cohort=...)."
            )
        try:
            path = safe_join(self.cohort, trial.clip)
        except CohortError as error:
            raise StoreError(f"VoxelStore.clip: {error}") from error
        if not path.is_file():
            raise StoreError(
                f"VoxelStore.clip: {path} must exist. Where the cohort was moved, name its folder: "
                "VoxelStore.open(..., cohort=...)."
            )
        return path

    def fingerprint(self) -> str:
        """Return a short hash of everything that affects the values of windows."""
        parts = {k: v for k, v in self.manifest.items() if k not in _BESIDE}
        text = json.dumps(parts, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def _read_grid(path: Path, info: Manifest) -> tuple[TokenGrid, npt.NDArray[np.float64]]:
    names = ("mask", "kernel", "stride", "kept", "affine")
    arrays = read_npz(path, names, where="VoxelStore.open", error=StoreError)
    found = {name: (array.dtype.kind, array.ndim, array.size) for name, array in arrays.items()}
    triple, affine = ("i", 1, 3), arrays["affine"]
    fits = (
        (found["kernel"], found["stride"]) == (triple, triple)
        and min(*arrays["kernel"], *arrays["stride"]) >= 1
        and (found["mask"][:2], found["kept"][:2]) == (("b", 3), ("i", 1))
        and affine.shape == (4, 4)
        and affine.dtype == np.float64
    )
    if fits:
        kernel, stride = (tuple(arrays[name].tolist()) for name in ("kernel", "stride"))
        try:
            grid = TokenGrid(arrays["mask"], kernel, stride, arrays["kept"])
        except InputError as error:
            raise StoreError(f"VoxelStore.open: {path} must be a usable grid: {error}") from error
        if is_grid_of(grid, info):
            return grid, affine
    raise StoreError(f"VoxelStore.open: {path} must be the grid of the manifest, got another.")


def _read_array(
    path: Path, shape: tuple[int, ...], dtype: type[np.generic], *, mmap: bool = False
) -> npt.NDArray[Any]:
    array = read_npy(
        path, where="VoxelStore", error=StoreError, shape=shape, dtype=dtype, mmap=mmap
    )
    return np.asarray(array)


def _read_split(path: Path) -> Split:
    try:
        return Split.from_json(read_json(path))
    except FastbrainError as error:
        raise StoreError(f"VoxelStore.open: {path} must be a split, got '{error}'.") from error


def read_trials_table(path: Path) -> list[Trial]:
    """Read the trials of a ``trials.parquet``.

    Raises
    ------
    StoreError
        The file cannot be read, claims more rows than it can hold, or has other columns or gaps.
    """
    columns, found = read_columns(path, where="VoxelStore.open", error=StoreError)
    # older stores lack these columns
    schema = _schema()
    for name in _LATER:
        if name not in columns:
            schema = schema.remove(schema.get_field_index(name))
    if not found.equals(schema) or any(None in values for values in columns.values()):
        raise StoreError(
            f"VoxelStore.open: {path} must have the columns {_schema().names} without gaps."
        )
    rows = zip(*columns.values(), strict=True)
    return [Trial(**dict(zip(columns, row, strict=True))) for row in rows]


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
