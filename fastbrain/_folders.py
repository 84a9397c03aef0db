"""Atomic writing of folders: fill a temporary one, fsync, rename; and removal of what kills left.

A temporary folder is locked while its process lives. ``flock`` ends with the process, so that a
folder without a lock was left by one that was killed. Where folders cannot be locked (NFS), nothing
is removed.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import DiskError, FastbrainError, OutputExistsError

_NEW, _OLD = ".part", ".old"
_LEFT = re.compile(rf"\.(?P<name>.+)\.[a-z0-9_]{{8}}(?P<kind>{re.escape(_NEW)}|{re.escape(_OLD)})")


@contextmanager
def as_disk_error(path: Path) -> Iterator[None]:
    """Turn an OSError raised while writing `path` into a :class:`DiskError` with the reason."""
    try:
        yield
    except OSError as error:
        if isinstance(error, FastbrainError):  # raised by the function of the caller
            raise
        reason = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the disk quota is used up"}.get(
            error.errno or 0, error.strerror or str(error)
        )
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        remedy = "free space or choose another folder" if full else "choose another place"
        raise DiskError(
            f"write: {path} must be writable, got '{reason}'. Nothing half-written was left; "
            f"{remedy}."
        ) from error


def sync_folder(path: Path) -> None:
    """Write the entries of a folder to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def umask() -> int:
    """Return the permission bits that new files do not get."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


@contextmanager
def folder_atomic(
    path: str | Path, *, replace: bool = False, function: str = "write", offered: bool = False
) -> Iterator[Path]:
    """Fill a folder under a temporary name; rename it to its final name on success.

    What a killed process left of an earlier folder of that name is removed first, or put back if it
    died between the two renames of a replacement.

    Parameters
    ----------
    path : str or Path
        Final name of the folder.
    replace : bool
        Whether an existing folder may be replaced. It is removed after the new one is complete.
    function : str
        What the user called, for the message.
    offered : bool
        Whether that has an argument ``replace``.

    Yields
    ------
    Path
        The temporary folder to write into.

    Raises
    ------
    OutputExistsError
        `path` exists and `replace` is false.
    DiskError
        The disk is full or the parent folder is read-only.
    """
    path = Path(path)
    with as_disk_error(path):
        remove_leftovers(path.parent, path.name)
        if path.exists() and not replace:
            raise OutputExistsError(
                f"{function}: {path} must not exist. Choose another name"
                f"{', or pass replace=True' if offered else ''}."
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary, lock = _held(path, _NEW)
    old, old_lock = None, None
    try:
        yield temporary
        with as_disk_error(path):
            os.chmod(temporary, 0o777 & ~umask())
            sync_folder(temporary)
            if path.exists():
                old, old_lock = _held(path, _OLD)
            try:
                if old is not None:
                    os.replace(path, old / path.name)
                os.replace(temporary, path)
            except BaseException:
                # restore the old folder under its name
                if old is not None:
                    if (old / path.name).exists():
                        os.rename(old / path.name, path)
                    old.rmdir()
                raise
            sync_folder(path.parent)
            if old is not None:
                shutil.rmtree(old, ignore_errors=True)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    finally:
        for handle in (lock, old_lock):
            if handle is not None:
                os.close(handle)


def remove_leftovers(parent: Path, name: str | None = None) -> None:
    """Remove temporary folders of processes that were killed.

    Parameters
    ----------
    parent : Path
        Folder that holds them.
    name : str, optional
        Only those of the folder of this name; default: all.
    """
    for left in list(parent.iterdir()) if parent.is_dir() else ():
        match = _LEFT.fullmatch(left.name)
        if match is None or name not in (None, match["name"]) or left.is_symlink():
            continue
        handle = _locked(left)
        if handle is None:
            continue
        try:
            kept, final = left / match["name"], parent / match["name"]
            if match["kind"] == _OLD and kept.is_dir() and not final.exists():
                os.replace(kept, final)
            shutil.rmtree(left, ignore_errors=True)
        finally:
            os.close(handle)


def _held(path: Path, kind: str) -> tuple[Path, int | None]:
    """Create a temporary folder beside `path`, and lock it."""
    while True:
        made = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=kind, dir=path.parent))
        handle = _locked(made)
        # between the two lines another process may have taken it for a leftover
        if made.exists():
            return made, handle
        if handle is not None:
            os.close(handle)


def _locked(folder: Path) -> int | None:
    """Lock a folder; None if another process holds it or folders cannot be locked here."""
    handle = None
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return handle
    if handle is not None:
        os.close(handle)
    return None
