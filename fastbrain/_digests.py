"""Detection of changed files: sealed JSON, cached digests, identities of inputs."""

from __future__ import annotations

import hashlib
import json
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from ._io import cache_folder, json_text, read_json, sha256, write_json
from .errors import CohortError, FastbrainError

SEAL = "digest"
WHOLE_BYTES = 1 << 30  # inputs up to this size are identified by a digest of all bytes
_END_BYTES = 1 << 24  # digested at the head and at the tail of a larger input
_SETTLED_NS = 2_000_000_000
_MEMORY_CAP = 64 << 20

Stamp = tuple[int, int, int, int]

_known: dict[str, tuple[Stamp, str]] = {}
_recalled: set[Path] = set()


def write_sealed(path: str | Path, value: dict[str, Any]) -> Path:
    """Write JSON with the sha256 of its own text, atomically."""
    return write_json(path, {**value, SEAL: _seal(value)})


def read_sealed(path: str | Path, *, error: type[FastbrainError]) -> dict[str, Any]:
    """Read a file written by :func:`write_sealed`; raise if a byte of it has changed.

    Parameters
    ----------
    path : str or Path
    error : type of FastbrainError
        Type of the error raised if the file is missing, damaged or edited.

    Returns
    -------
    dict
        The value without the digest.
    """
    path = Path(path)
    try:
        value = read_json(path)
        # compared as text: a flipped bit may leave the value unchanged (1e-05 and 1E-05)
        text = path.read_bytes()
        said = value.pop(SEAL, None) if isinstance(value, dict) else None
        intact = said is not None and text == json_text({**value, SEAL: _seal(value)}).encode()
    except (CohortError, OSError, ValueError) as reason:
        raise error(f"read_sealed: {path} must be readable, got '{reason}'.") from reason
    if not intact:
        raise error(
            f"read_sealed: {path} must match the sha256 it carries, got "
            + ("another" if said is not None else "none")
            + ". The file is damaged, was edited, or is of another version."
        )
    return value


def _seal(value: dict[str, Any]) -> str:
    return hashlib.sha256(json_text(value).encode()).hexdigest()


def stamp(path: str | Path) -> Stamp:
    """Return size, times of change (ns) and inode of a file; a write changes them."""
    found = os.stat(path)
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


def remembered_sha256(path: str | Path) -> str:
    """Return the sha256 of a file as hex, cached until the stamp of the file changes.

    The cache is kept in this process and in ``digests`` of the cache folder, one small file for
    each folder. The digest of a file that changed within the last two seconds is not cached,
    because another change could leave the same stamp. Damage by the disk changes no stamp: use
    :func:`fastbrain._io.sha256` to detect it.

    Raises
    ------
    OSError
        The file cannot be read.
    """
    path = os.path.abspath(path)
    before = stamp(path)
    _recall(Path(path).parent)
    if path in _known and _known[path][0] == before:
        return _known[path][1]
    settled = time.time_ns() - max(before[1:3]) > _SETTLED_NS
    digest = sha256(path)
    if settled and stamp(path) == before:
        _known[path] = before, digest
        line = json.dumps([os.path.basename(path), *before, digest]) + "\n"
        with suppress(OSError):  # without the cache the digest is only computed again
            memory = _memory(Path(path).parent)
            memory.parent.mkdir(parents=True, exist_ok=True)
            # appended: an incomplete line is skipped when the file is read
            handle = os.open(memory, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            try:
                os.write(handle, line.encode())
            finally:
                os.close(handle)
    return digest


def _memory(folder: Path) -> Path:
    name = hashlib.sha256(os.fsencode(folder)).hexdigest()[:32]
    return cache_folder() / "digests" / f"{name}.jsonl"


def _recall(folder: Path) -> None:
    """Load the digests that earlier processes cached for the files of a folder."""
    if folder in _recalled:
        return
    _recalled.add(folder)
    try:
        memory = _memory(folder)
        if memory.stat().st_size > _MEMORY_CAP:
            return
        lines = memory.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        try:
            name, size, mtime, ctime, inode, digest = json.loads(line)
            _known[os.path.join(folder, name)] = (size, mtime, ctime, inode), digest
        except (TypeError, ValueError, RecursionError):
            continue


def identity(path: str | Path) -> dict[str, int | str]:
    """Return a record that identifies the contents of an input file.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    dict
        ``bytes`` and ``sha256``; for files over 1 GiB ``bytes``, ``mtime_ns`` and the digests of
        the first and last 16 MiB, ``head`` and ``tail``.

    Raises
    ------
    CohortError
        The file cannot be read.
    """
    try:
        found = os.stat(path)
        if found.st_size <= WHOLE_BYTES:
            return {"bytes": found.st_size, "sha256": remembered_sha256(path)}
        with open(path, "rb") as file:
            head = file.read(_END_BYTES)
            file.seek(-_END_BYTES, os.SEEK_END)
            tail = file.read(_END_BYTES)
    except OSError as reason:
        raise CohortError(f"identity: {path} must be readable, got '{reason}'.") from reason
    return {
        "bytes": found.st_size,
        "mtime_ns": found.st_mtime_ns,
        "head": hashlib.sha256(head).hexdigest(),
        "tail": hashlib.sha256(tail).hexdigest(),
    }


def difference(before: object, now: dict[str, int | str]) -> str | None:
    """Describe how an input differs from its recorded identity; None if it does not."""
    if before == now:
        return None
    if not isinstance(before, dict):
        return "no identity was recorded"
    if before.get("bytes") != now["bytes"]:
        return f"{before.get('bytes')} bytes before, {now['bytes']} now"
    if any(before.get(key) != now[key] for key in ("sha256", "head", "tail") if key in now):
        return "the same size, other contents"
    return "another time of modification"
