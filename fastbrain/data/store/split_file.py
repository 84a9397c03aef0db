"""Split of a store or a collection, as a file."""

from __future__ import annotations

from pathlib import Path

from ..._io import read_json
from ...errors import FastbrainError, StoreError
from ..splits.split import Split


def read_split(path: Path, *, function: str = "VoxelStore.open") -> Split:
    """Read ``split.json``; raises :class:`StoreError` if it is invalid."""
    try:
        return Split.from_json(read_json(path))
    except FastbrainError as error:
        raise StoreError(f"{function}: {path} must be a split, got '{error}'.") from error
