"""Compare every file of a store with its digest, and list all that is damaged."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..._arguments import checked
from ..._digests import read_sealed
from ..._io import safe_join, sha256
from ..._progress import track
from ...errors import FastbrainError, StoreError
from .collection import StoreCollection
from .manifest import COLLECTION, GRIDS, MANIFEST, Manifest
from .quality import QUALITY, quality_table
from .resume import IMAGES, SETTINGS
from .store import VoxelStore


@dataclass(frozen=True)
class Damage:
    """A damaged or missing file of a store.

    Parameters
    ----------
    file : str
        Name in the folder of the store; "" for the store as a whole.
    reason : str
    """

    file: str
    reason: str


@checked
def verify_store(path: str | Path) -> tuple[Damage, ...]:
    """Read every byte of a store, and list the files that are not what the manifest says.

    Nothing is changed or repaired. Records that only a resumed preparation or a merge reads are
    compared where they exist. A store without damage is opened as well, which checks its split.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    tuple of Damage
        Empty if the store is intact.

    Raises
    ------
    StoreError
        The folder holds no finished store, so that nothing can be compared.
    """
    root = Path(path)
    if (root / COLLECTION).is_file():
        return _collection(root)
    if not (root / MANIFEST).is_file():
        Manifest.read(root)
    try:
        info = Manifest.read(root)
    except StoreError as error:
        return (Damage(MANIFEST, str(error)),)
    damaged = [*_files(root, info), *_records(root, info)]
    if not damaged:
        try:
            VoxelStore.open(root)
        except FastbrainError as error:
            damaged.append(Damage("", str(error)))
    return tuple(damaged)


def _collection(root: Path) -> tuple[Damage, ...]:
    """Verify each store of a collection, and then what joins them."""
    folders = sorted(path for path in (root / GRIDS).glob("*") if path.is_dir())
    damaged = [
        Damage(f"{GRIDS}/{folder.name}/{damage.file}", damage.reason)
        for folder in folders
        for damage in verify_store(folder)
    ]
    if not damaged:
        try:
            StoreCollection.open(root)
        except FastbrainError as error:
            damaged.append(Damage(COLLECTION, str(error)))
    return tuple(damaged)


def _files(root: Path, info: Manifest) -> Iterator[Damage]:
    for name, digest in track(info.files.items(), "verifying files", total=len(info.files)):
        reason = _compared(root, name, digest)
        if reason:
            yield Damage(name, reason)


def _records(root: Path, info: Manifest) -> Iterator[Damage]:
    table = root / QUALITY
    if table.is_file() and table.read_bytes() != quality_table(info).encode():
        yield Damage(QUALITY, "is not the table of the manifest")
    names = [SETTINGS, *(f"runs/{run_id}.json" for run_id in info.runs)]
    for name in names:
        if not (root / name).is_file():
            continue
        try:
            record = read_sealed(root / name, error=StoreError)
        except StoreError as error:
            yield Damage(name, str(error))
            continue
        image = f"{IMAGES}/{Path(name).stem}.npy"
        if name != SETTINGS and (root / image).exists():
            reason = _compared(root, image, str(record.get("mean_image")))
            if reason:
                yield Damage(image, reason)


def _compared(root: Path, name: str, digest: str) -> str:
    """Describe how a file differs from its digest; "" if it does not."""
    try:
        path = safe_join(root, name)
        if not path.is_file():
            return "is missing"
        return "" if sha256(path) == digest else "does not match its sha256"
    except (OSError, FastbrainError) as error:
        return f"cannot be read: {error}"
