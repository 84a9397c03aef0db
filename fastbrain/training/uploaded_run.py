"""What of a run goes along with its uploaded model, so that it decodes new scans."""

from __future__ import annotations

import json
from pathlib import Path

from .._runfiles import UPLOADED, read_manifest
from ..data import VoxelStore
from ..data.store.preparation import PREPARATION
from ..errors import CheckpointError, StoreError
from ..nn.card_parts import without_path


def run_files(run: str | Path, *, function: str) -> dict[str, Path | str]:
    """Return the manifest and the preparation of a run, by their places in an upload.

    The manifest is without the paths of this machine. There is none for a folder that is no run, a
    run on several grids, and a run of an earlier version without a preparation.

    Parameters
    ----------
    run : str or Path
    function : str
        Name of the calling function, for messages.

    Raises
    ------
    CheckpointError
        A file is damaged.
    """
    root = Path(run) / PREPARATION
    if not (Path(run) / "manifest.json").is_file() or not root.is_dir():
        return {}
    manifest = read_manifest(run, function=function)
    if manifest.get("grids") or manifest.get("joint"):
        return {}
    try:
        VoxelStore.open(root)
    except StoreError as error:
        raise CheckpointError(f"{function}: {root} must be whole: {error}") from error
    manifest |= {"store": "", "store_beside": None, "llm": without_path(manifest["llm"])}
    if language := manifest.get("language_model"):
        manifest["language_model"] = {**language, "name": without_path(language["name"])}
    files: dict[str, Path | str] = {
        f"{UPLOADED}/{path.relative_to(run).as_posix()}": path
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }
    return files | {f"{UPLOADED}/manifest.json": json.dumps(manifest, indent=2) + "\n"}
