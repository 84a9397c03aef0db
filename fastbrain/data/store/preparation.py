"""Preparation of a store without its voxels, to bring new scans into the form of training.

It is a store without runs and trials: grid, filter, windows, statistics and their limits. A trained
run keeps one in ``preparation/``, so that it decodes new scans where its store is not at hand.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ..._arrays import npy_bytes
from ..._io import folder_atomic, read_json, sha256, write_atomic, write_json
from ..._rules import list_of, number
from ...errors import CheckpointError, StoreError
from ..readers.masks import same_affine
from ..splits.split import Split
from .grid_file import write_grid
from .manifest import SMALL_FILES
from .store import VoxelStore
from .trials_table import write_trials_table

PREPARATION = "preparation"
_START_TIMES = "start_times.json"


def save_preparation(store: VoxelStore, run: str | Path, *, replaced: bool = False) -> Path:
    """Write the preparation of a store into the folder of a run, atomically.

    Parameters
    ----------
    store : VoxelStore
    run : str or Path
    replaced : bool
        Whether an existing preparation is replaced.

    Returns
    -------
    Path
        Folder that :meth:`VoxelStore.open` reads.
    """
    folder = Path(run) / PREPARATION
    with folder_atomic(folder, replace=replaced, function="save_preparation") as root:
        write_grid(root / "grid.npz", store.grid, store.affine)
        for name in ("mean", "inv_std", "mean_image"):
            write_atomic(root / f"{name}.npy", npy_bytes(getattr(store, name)))
        write_trials_table(root / "trials.parquet", [])
        write_json(root / "split.json", Split((), (), (), guard_trs=0, keys=()).to_json())
        write_json(root / _START_TIMES, start_times(store))
        files = {name: sha256(root / name) for name in SMALL_FILES}
        replace(store.info, runs={}, root="", files=files).write(root)
    return folder


def start_times(store: VoxelStore) -> list[float]:
    """List the start times of the training runs of a store or of a preparation, each once.

    Returns
    -------
    list of float
        Seconds, ascending; empty for preparations of earlier versions, which do not have them.

    Raises
    ------
    StoreError
        The file of a preparation is damaged.
    """
    runs = store.info.runs
    if runs:
        fitted = [runs[name] for name in store.info.fit["runs"] if name in runs]
        # stores of earlier versions have no start times
        return sorted({float(facts.get("start_time", 0.0)) for facts in fitted or runs.values()})
    path = store.path / _START_TIMES
    if not path.is_file():
        return []
    found = read_json(path)
    if not list_of(number)(found):
        raise StoreError(f"start_times: {path} must list seconds, got others. It was edited.")
    return sorted(found)


_REMEDY = "Prepare it like the run: fastbrain prepare SOURCE STORE --like RUN"


def check_like(
    store: VoxelStore, like: VoxelStore, *, owner: str = "training", remedy: str = _REMEDY
) -> None:
    """Raise unless the windows of a store are in the form of another one, `owner` in messages.

    Raises
    ------
    StoreError
        Grid, position, repetition time, length of windows, units or filter differ.
    """
    a, b = store.info, like.info
    shape = (b.shape[0], b.shape[1], b.shape[2])
    facts = {
        "mask, kernel or stride": (a.grid, b.grid),
        "position in space": (
            True,
            a.grid != b.grid or same_affine(store.affine, like.affine, shape),
        ),
        "repetition time in seconds": (round(a.tr, 3), round(b.tr, 3)),
        "volumes in a window": (store.window_spec.window_trs, like.window_spec.window_trs),
        "units": ((a.units, a.scale), (b.units, b.scale)),
        "high-pass in seconds": (a.high_pass_s, b.high_pass_s),
        "betas, by their units per percent": (a.beta_divisor, b.beta_divisor),
        "smoothing in mm": (a.smoothing_mm, b.smoothing_mm),
        "denoising": (a.denoising, b.denoising),
    }
    for name, (found, wanted) in facts.items():
        if found != wanted:
            raise StoreError(
                f"check_like: {store.path} must have the {name} of {owner}, {wanted}, got "
                f"{found}. {remedy}."
            )


def preparation_of(run: str | Path, store: VoxelStore) -> VoxelStore:
    """Open the preparation in the folder of a run; for a run without one, return its store."""
    return open_preparation(run) if (Path(run) / PREPARATION).is_dir() else store


def open_preparation(folder: str | Path) -> VoxelStore:
    """Open a store, or the preparation in the folder of a run.

    Raises
    ------
    StoreError
        The folder is damaged.
    CheckpointError
        It is a run without a preparation; runs of earlier versions have none.
    """
    root = Path(folder)
    if (root / PREPARATION).is_dir():
        return VoxelStore.open(root / PREPARATION)
    if (root / "model").is_dir():
        raise CheckpointError(
            f"open_preparation: {root} must have a folder {PREPARATION}, got a run without one. "
            "Name the store of its training instead."
        )
    return VoxelStore.open(root)
