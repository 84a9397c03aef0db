"""What every saved model has: a manifest of its files, tensors, and a file that says what it is."""

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
    except CheckpointError:
        raise
    except (CohortError, OSError) as error:
        raise CheckpointError(f"{function}: {root} must be a saved model: {error}") from error


def load_tensors(path: str | Path, *, function: str) -> dict[str, Tensor]:
    """Tensors of a safetensors file by name.

    Raises
    ------
    CheckpointError
        The file is missing, unreadable, or no safetensors.
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
    """Sync the files that another library wrote into a folder, and list their digests."""
    names = sorted(p.name for p in folder.iterdir())
    for name in names:
        write_atomic(folder / name, (folder / name).read_bytes())
    write_json(folder / SEAL, {name: sha256(folder / name) for name in names})


def check_seal(folder: Path) -> None:
    """Compare the files of a folder with the digests that :func:`seal` listed.

    Raises
    ------
    CheckpointError
        A file is missing or damaged, or there is no list.
    """
    listed = read_record(folder / SEAL, {}, function="check_seal")
    try:
        verify(folder, listed, error=CheckpointError)
    except CheckpointError:
        raise
    except (CohortError, OSError) as error:
        raise CheckpointError(f"check_seal: {folder} must be whole: {error}") from error


def plain_name(name: Any) -> bool:
    """Whether a value names a file in the folder itself: no path, nothing hidden."""
    return isinstance(name, str) and re.fullmatch(r"\w[\w.+-]*", name) is not None
