"""Atomic writing of files: write to a temporary name, fsync, rename.

A reader gets either the old file or the new file, never a partial one, and a full disk leaves the
old file in place.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from ._folders import as_disk_error as as_disk_error
from ._folders import folder_atomic as folder_atomic
from ._folders import remove_leftovers, sync_folder, umask
from .errors import CohortError, DiskError, InputError, OutputExistsError, StoreError

_HASH_BLOCK = 1 << 20
_JSON_CAP = 64 << 20  # larger than any JSON written by fastbrain


def write_atomic(path: str | Path, write: bytes | str | Callable[[IO[bytes]], object]) -> Path:
    """Write a file atomically: it is complete or does not exist.

    Parameters
    ----------
    path : str or Path
        Final name; its parent folder is created if needed.
    write : bytes, str or callable
        The contents, or a function that receives the open binary file.

    Returns
    -------
    Path
        The final name.

    Raises
    ------
    DiskError
        The disk is full or the folder is read-only. The previous file is untouched.
    InputError
        The text cannot be encoded as UTF-8.
    """
    path = Path(path)
    if isinstance(write, str):
        write = _encoded(path, write)
    with as_disk_error(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                if callable(write):
                    write(file)
                else:
                    file.write(write)
                file.flush()
                os.fsync(file.fileno())
            # mkstemp makes the file private; results should be readable under the umask
            os.chmod(name, 0o666 & ~umask())
            os.replace(name, path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        sync_folder(path.parent)
    return path


def _encoded(path: Path, text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        part = ascii(text[max(0, error.start - 30) : error.end + 10])
        raise InputError(
            f"write: text for {path} must be valid Unicode, got {part}. Rename such files."
        ) from error


def write_json(path: str | Path, value: Any) -> Path:
    """Write `value` as indented JSON, atomically; NaN and infinity raise."""
    try:
        text = json_text(value)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"write_json: value for {path} must be finite JSON, got '{error}'."
        ) from error
    return write_atomic(path, text)


def json_text(value: Any) -> str:
    """Return the text that :func:`write_json` writes for `value`."""
    return json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def read_json(path: str | Path) -> Any:
    """Read JSON from any source; a damaged file raises :class:`CohortError` with its name.

    An object with two different values of one name is damaged too: Python would keep the last one.
    """
    try:
        if (path := Path(path)).stat().st_size > _JSON_CAP:
            raise CohortError(f"read_json: {path} must be at most 64 MiB. Is it really JSON?")
        return json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=_unambiguous)
    except CohortError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        # ValueError: not UTF-8, not JSON, or an integer with thousands of digits
        reason = error.strerror if isinstance(error, OSError) else error
        raise CohortError(f"read_json: {path} must be readable JSON, got '{reason}'.") from error


def _unambiguous(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        for name, value in pairs:
            if found[name] != value:
                raise ValueError(f"{name!r:.60} occurs twice, with different values")
    return found


def sha256(path: str | Path) -> str:
    """Return the sha256 of a file as hex."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(_HASH_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def cache_folder() -> Path:
    """Return the cache folder: ``$FASTBRAIN_CACHE``, else ``~/.cache/fastbrain``.

    Raises
    ------
    DiskError
        The variable is not set and the user has no home folder.
    """
    try:
        return Path(os.environ.get("FASTBRAIN_CACHE") or "~/.cache/fastbrain").expanduser()
    except RuntimeError as error:
        raise DiskError(
            f"cache_folder: the user must have a home folder, got none: {error} Set "
            "FASTBRAIN_CACHE to a folder that can be written."
        ) from error


def safe_join(root: str | Path, *parts: str) -> Path:
    """Join paths below `root`; raise if the result is outside ('..', absolute, link)."""
    base = Path(root).resolve()
    path = base.joinpath(*parts)
    try:
        inside = path.resolve().is_relative_to(base)
    except (OSError, RuntimeError, ValueError):  # a loop of links, a zero byte, a name too long
        inside = False
    if not inside:
        raise CohortError(
            f"safe_join: path must stay inside {base}, got '{'/'.join(parts)}'. "
            "Move the file into the folder, or name it from a folder that holds it."
        )
    return path


def new_output(path: str | Path, *, resume: bool = False) -> Path:
    """Create an output folder; raise if it is not empty, unless resuming.

    Resuming removes folders that a killed process left half-written in it.

    Raises
    ------
    OutputExistsError
        The folder exists, is not empty, and `resume` is false; or a file of that name exists.
    DiskError
        No file can be created in it.
    """
    path = Path(path)
    with as_disk_error(path):
        free = not path.exists() or (path.is_dir() and (resume or not any(path.iterdir())))
        if not free:
            raise OutputExistsError(
                f"output: {path} must be new or empty. Pass --resume to go on with it, "
                "or choose another folder."
            )
        path.mkdir(parents=True, exist_ok=True)
    check_writable(path)
    if resume:
        remove_leftovers(path)
    return path


def check_writable(folder: str | Path) -> None:
    """Create and remove a file in a folder; permission bits do not suffice (root, NFS, quota).

    Raises
    ------
    DiskError
        No file can be created there.
    """
    with as_disk_error(Path(folder)):
        handle, name = tempfile.mkstemp(prefix=".probe.", suffix=".tmp", dir=folder)
        os.close(handle)
        os.unlink(name)


def verify(
    root: str | Path, digests: dict[str, str], *, error: type[Exception] = StoreError
) -> None:
    """Compare files below `root` with their sha256; raise `error` for the first mismatch."""
    for name, expected in digests.items():
        path = safe_join(root, name)
        if not path.is_file():
            raise error(f"verify: {path} must exist: it is listed in the manifest.")
        try:
            found = sha256(path)
        except OSError as reason:
            raise error(f"verify: {path} must be readable, got '{reason}'.") from reason
        if found != expected:
            raise error(f"verify: {path} must match its sha256. The file is damaged or was edited.")
