"""What every saved model has: a manifest of its files, and a file that says what it is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .._io import read_json, verify
from ..errors import CheckpointError, CohortError


def read_whole(root: Path, files: Sequence[str], *, function: str) -> Any:
    """``config.json`` of a folder, once all its files are found as the manifest lists them.

    Raises
    ------
    CheckpointError
        A file is missing or damaged, or the manifest lists others.
    """
    try:
        manifest = read_json(root / "manifest.json")
        if not isinstance(manifest, dict) or sorted(manifest) != sorted(files):
            raise CheckpointError(
                f"{function}: {root} must list {', '.join(files)} in manifest.json. The file is "
                "damaged."
            )
        verify(root, manifest, error=CheckpointError)
        return read_json(root / "config.json")
    except CohortError as error:
        raise CheckpointError(f"{function}: {root} must be a saved model: {error}") from error
