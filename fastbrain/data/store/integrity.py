"""Check that the files of a store match its manifest."""

from __future__ import annotations

from pathlib import Path

from ..._digests import read_sealed, remembered_sha256
from ..._io import safe_join, verify
from ..._progress import track
from ...errors import CohortError, StoreError
from ...grid import TokenGrid
from ..readers.events import Trial
from .manifest import SMALL_FILES, Manifest
from .resume import SETTINGS


def check_files(root: Path, info: Manifest, *, runs: bool, all_here: bool = True) -> None:
    """Compare the files of a store with their digests.

    Parameters
    ----------
    root : Path
    info : Manifest
    runs : bool
        Whether to read every byte of the run files as well; else they only have to exist.
    all_here : bool
        Whether run files must exist; those of a store on another machine are copied on first use.

    Raises
    ------
    StoreError
        A file is missing, damaged or was edited.
    """
    for name in info.files if all_here else SMALL_FILES:
        if not _file(root, name).is_file():
            raise StoreError(f"VoxelStore.open: {root / name} must exist: the manifest has it.")
    verify(root, {name: info.files[name] for name in SMALL_FILES})
    if not runs:
        return
    # these records are only read by a resumed preparation and may be missing
    records = [root / SETTINGS, *(root / "runs" / f"{run_id}.json" for run_id in info.runs)]
    for record in records:
        if record.is_file():
            read_sealed(record, error=StoreError)
    for run_id in track(info.runs, "verifying runs"):
        name = f"runs/{run_id}.npy"
        verify(root, {name: info.files[name]})


def check_run(root: Path, info: Manifest, run_id: str) -> Path:
    """Return the voxel file of a run, compared with its digest unless known to be unchanged.

    Raises
    ------
    StoreError
        The file is missing, damaged or was edited.
    """
    name = f"runs/{run_id}.npy"
    path = _file(root, name)
    try:
        found = remembered_sha256(path)
    except OSError as error:
        raise StoreError(f"VoxelStore.run: {path} must be readable, got '{error}'.") from error
    if found != info.files[name]:
        raise StoreError(
            f"VoxelStore.run: {path} must match its sha256. The file is damaged or was edited: "
            "prepare the store again."
        )
    return path


def is_grid_of(grid: TokenGrid, info: Manifest) -> bool:
    """Return whether a grid has the sizes and the fingerprint listed in a manifest."""
    lists = (list(grid.shape), list(grid.kernel), list(grid.stride))
    own = (*lists, grid.n_tokens, grid.patch_voxels, grid.fingerprint(), grid.geometry)
    return own == (
        info.shape, info.kernel, info.stride, info.n_tokens, info.patch_voxels, info.grid,
        info.geometry
    )  # fmt: skip


def check_windows(root: Path, info: Manifest, trials: list[Trial]) -> None:
    """Raise for trials with a window outside their run, or with a run the store lacks."""
    for t in trials:
        length = info.runs[t.run_id]["n_volumes"] if t.run_id in info.runs else 0
        if t.frames < 1 or t.start < 0 or t.start + t.frames > length:
            raise StoreError(
                f"VoxelStore.open: {root} trial {t.trial_id} must lie inside its run, got volumes "
                f"{t.start}..{t.start + t.frames} of {length}."
            )


def _file(root: Path, name: str) -> Path:
    try:
        return safe_join(root, name)
    except CohortError as error:
        raise StoreError(f"VoxelStore.open: {error}") from error
