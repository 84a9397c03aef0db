"""Voxel store: a converted cohort, in which a window is one slice of a memory map.

Layout (version 4)::

    manifest.json      settings, digests of all files read and of itself; written last
    grid.npz           mask, kernel, stride, kept patches, affine; locations of listed patches
    runs/<run_id>.npy  (T, n_tokens, P) int16 or int8, patch-major, `step · scale` units a step
    mean.npy inv_std.npy mean_image.npy  (n_tokens, P) float32, from training windows and runs only
    trials.parquet split.json
    prepare.json runs/<run_id>.json  settings and results of preparation, for resuming
    quality.tsv        quality of the runs, for reading; all of it is in the manifest

Manifest and small files are compared with their digests at opening, a run at its first use.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from ..._arguments import checked
from ..._arrays import read_npy
from ..._io import safe_join
from ...errors import CohortError, StoreError
from ...grid import TokenGrid
from ..readers.events import Trial
from ..readers.trial_windows import WindowSpec
from ..splits.split import Split
from .denoising.strategy import Denoising
from .detrend import Units
from .grid_file import read_grid
from .highpass import DriftFilter
from .integrity import check_files, check_run, check_windows
from .manifest import Manifest
from .remote import RemoteStore, url_of
from .split_file import read_split
from .stored_steps import StoredArray
from .trials_table import read_trials_table
from .window_limits import WindowLimits

# entries of the manifest that do not affect the values of a window
_BESIDE = ("root", "fastbrain", "filter", "excluded", "excluded_quality")


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
    mean_image : ndarray, (n_tokens, P) float32
        Mean intensity of the training runs, each divided by its median voxel.
    trials : list of Trial
    split : Split
    cohort : str
        Folder of the cohort, with the clips in ``stimuli``; "" if it is not known.
    remote : RemoteStore, optional
        Where missing files come from, if `path` is the cache of a store on another machine.
    """

    path: Path
    info: Manifest
    grid: TokenGrid
    affine: npt.NDArray[np.float64]
    mean: npt.NDArray[np.float32]
    inv_std: npt.NDArray[np.float32]
    mean_image: npt.NDArray[np.float32]
    trials: list[Trial]
    split: Split
    cohort: str = ""
    remote: RemoteStore | None = None
    _maps: dict[str, npt.NDArray[np.int16] | StoredArray] = field(default_factory=dict, repr=False)

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
            Folder, or a URL that fsspec reads, for example ``s3://bucket/store``: then runs are
            copied into ``stores`` of the cache folder when they are first used.
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
        MissingPartError
            The package that reads such URLs is not installed.
        """
        url = url_of(path)
        root = Path(os.path.abspath(path)) if url is None else RemoteStore.open(url).root
        remote = RemoteStore.of(root)
        info = Manifest.read(root)
        if remote is not None and verify:
            remote.fetch_runs(info, info.runs)
        check_files(root, info, runs=verify, all_here=remote is None)
        grid, affine = read_grid(root / "grid.npz", info)
        size = (grid.n_tokens, grid.patch_voxels)
        trials = read_trials_table(root / "trials.parquet")
        check_windows(root, info, trials)
        split = read_split(root / "split.json")
        # a store with a leaking split cannot be opened
        split.check(trials)
        mean, inv_std, image = (
            _read_array(root / f"{name}.npy", size, np.float32)
            for name in ("mean", "inv_std", "mean_image")
        )
        return cls(
            path=root,
            info=info,
            grid=grid,
            affine=affine,
            mean=mean,
            inv_std=inv_std,
            mean_image=image,
            trials=trials,
            split=split,
            cohort=info.root if cohort is None else os.path.abspath(cohort),
            remote=remote,
        )

    def __getstate__(self) -> dict[str, Any]:
        # a memory map would be sent to another process with all its values
        return {**self.__dict__, "_maps": {}}

    @property
    def tr(self) -> float:
        """Seconds between volumes."""
        return self.info.tr

    @property
    def scale(self) -> float:
        """Units (percent or standard deviations) per stored step."""
        return self.info.scale

    @property
    def units(self) -> Units:
        """``"psc"``, percent signal change, or ``"zscore"``."""
        return self.info.units

    @property
    def window_spec(self) -> WindowSpec:
        """Position of windows relative to stimuli."""
        return WindowSpec(**self.info.window)

    @property
    def limits(self) -> WindowLimits:
        """Limits of what a window may look like, from the training windows."""
        return WindowLimits.from_json(self.info.limits)

    @property
    def filter(self) -> DriftFilter:
        """High-pass filter of the runs, and what it removed of the training design."""
        return DriftFilter.from_json(self.info.filter)

    @property
    def denoising(self) -> Denoising | None:
        """Confounds that were regressed out and volumes that were censored; None for neither."""
        return Denoising.from_json(self.info.denoising) if self.info.denoising else None

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
        """Return all volumes of a run, (T, n_tokens, P) int16.

        A read-only memory map if the store is int16; a copy if it is int8.

        Raises
        ------
        StoreError
            There is no such run, or its file is damaged.
        """
        volumes = self.volumes(run_id)
        return volumes[:] if isinstance(volumes, StoredArray) else volumes

    def volumes(self, run_id: str) -> npt.NDArray[np.int16] | StoredArray:
        """Open a run for reading by slices, (T, n_tokens, P) int16; nothing is copied yet.

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
            facts = self.info.runs[run_id]
            size = (facts["n_volumes"], self.grid.n_tokens, self.grid.patch_voxels)
            if self.remote is not None:
                self.remote.fetch_runs(self.info, [run_id])
            path = check_run(self.path, self.info, run_id)
            small = self.info.dtype == "int8"
            mapped = _read_array(path, size, np.int8 if small else np.int16, mmap=True)
            self._maps[run_id] = StoredArray(mapped, facts["step"]) if small else mapped
        return self._maps[run_id]

    def window(self, trial_id: str) -> npt.NDArray[np.int16]:
        """Return the window of a trial, (F, n_tokens, P) int16; a view if the store is int16."""
        trial = self.by_id.get(trial_id)
        if trial is None:
            raise StoreError(
                f"VoxelStore.window: trial_id must be a trial of {self.path}, got {trial_id!r}."
            )
        return self.volumes(trial.run_id)[trial.start : trial.start + trial.frames]

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
        parts["runs"] = {
            name: {k: v for k, v in facts.items() if k != "quality"}
            for name, facts in self.info.runs.items()
        }
        text = json.dumps(parts, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def _read_array(
    path: Path, shape: tuple[int, ...], dtype: type[np.generic], *, mmap: bool = False
) -> npt.NDArray[Any]:
    found = read_npy(
        path, where="VoxelStore", error=StoreError, shape=shape, dtype=dtype, mmap=mmap
    )
    return np.asarray(found)
