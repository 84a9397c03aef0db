"""Read and verify the folder of a saved model: manifest, tensors and ``config.json``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._io import read_json, sha256, verify, write_atomic, write_json
from .._runfiles import read_record
from ..errors import CheckpointError, CohortError

if TYPE_CHECKING:
    from torch import Tensor

SEAL = "fastbrain.json"


def read_whole(root: Path, files: Sequence[str], *, function: str) -> Any:
    """Verify the files of a folder against its manifest, then return ``config.json``.

    Raises
    ------
    CheckpointError
        A file is missing or damaged, or the manifest lists other files than `files`.
    """
    if not (root / "manifest.json").is_file():
        found = "a folder without manifest.json" if root.is_dir() else "no folder"
        raise CheckpointError(
            f"{function}: {root} must be a saved model, got {found}. Name the folder 'model' of a "
            "finished run."
        )
    try:
        manifest = read_json(root / "manifest.json")
        if not isinstance(manifest, dict) or sorted(manifest) != sorted(files):
            raise CheckpointError(
                f"{function}: {root} must list {', '.join(files)} in manifest.json. The file is "
                "damaged."
            )
        verify(root, manifest, error=CheckpointError)
        return read_json(root / "config.json")
    except CheckpointError:
        raise
    except (CohortError, OSError) as error:
        raise CheckpointError(f"{function}: {root} must be a saved model: {error}") from error


def load_tensors(path: str | Path, *, function: str) -> dict[str, Tensor]:
    """Load the tensors of a safetensors file, by name.

    Raises
    ------
    CheckpointError
        The file is missing, unreadable, or not a safetensors file.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        return load(Path(path).read_bytes())
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"{function}: {path} must be a safetensors file, got '{error}'. It is damaged."
        ) from error


def seal(folder: Path) -> None:
    """Rewrite the files of a folder atomically, and write the list of their digests."""
    names = sorted(p.name for p in folder.iterdir())
    for name in names:
        write_atomic(folder / name, (folder / name).read_bytes())
    write_json(folder / SEAL, {name: sha256(folder / name) for name in names})


def check_seal(folder: Path) -> None:
    """Compare the files of a folder with the digests that :func:`seal` listed.

    Raises
    ------
    CheckpointError
        A file is missing or damaged, or the list of digests is missing.
    """
    listed = read_record(folder / SEAL, {}, function="check_seal")
    try:
        verify(folder, listed, error=CheckpointError)
    except CheckpointError:
        raise
    except (CohortError, OSError) as error:
        raise CheckpointError(f"check_seal: {folder} must be whole: {error}") from error


def plain_name(name: Any) -> bool:
    """Whether a value is a plain file name: no path, no leading dot."""
    return isinstance(name, str) and re.fullmatch(r"\w[\w.+-]*", name) is not None
