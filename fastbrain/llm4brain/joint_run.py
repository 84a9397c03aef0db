"""A run on several voxel grids and its runs of one grid, ``RUN/grids/NAME``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .._runfiles import read_manifest
from ..data.store.manifest import GRIDS
from ..errors import CheckpointError


def grids_of_run(run: str | Path, *, function: str) -> dict[str, Path]:
    """Return the runs of one grid of a run on several, by name; empty for any other run.

    Raises
    ------
    CheckpointError
        Training is not finished, or the folder of a grid is missing.
    """
    found = read_manifest(run, function=function).get("grids", {})
    folders = {name: Path(run) / GRIDS / name for name in found}
    missing = [str(folder) for folder in folders.values() if not folder.is_dir()]
    if missing:
        raise CheckpointError(
            f"{function}: {run} must hold a folder for each grid, got none at {missing[0]}. Copy "
            "the whole run."
        )
    return folders


def training_folder(run: str | Path, manifest: Mapping[str, Any]) -> Path:
    """Return the folder with the model, configuration and logs of a run.

    That is the run itself, or for a run of one grid the run on several that it belongs to.
    """
    joint = manifest.get("joint")
    return Path(run) if joint is None else Path(run) / joint["run"]
