"""A lock on a folder, held by one process at a time.

``flock`` belongs to the open file, so the kernel releases it when the process ends for any reason:
there are no stale locks. The lock file only records the process that holds it, for the error
message of a second process, and is removed with the lock.

NFS (Linux, version 3 with lockd, or 4) applies ``flock`` between machines. A file system without
``flock`` (some mounts of Lustre) raises an error. A file system that applies it on each machine
separately (``localflock``, ``local_lock=flock``) cannot be detected: there, a lock file left by
another machine is reported in a note.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ._io import as_disk_error
from ._progress import say
from .errors import FastbrainError, StoreError

_MOST_BYTES = 4096


@contextmanager
def hold(
    path: str | Path, *, what: str, error: type[FastbrainError] = StoreError
) -> Iterator[None]:
    """Hold the lock of a folder; a second process gets an error that names the first.

    Parameters
    ----------
    path : str or Path
        The lock file; its folder is locked and must exist.
    what : str
        Name of the calling function, for the message: ``"prepare_store"``.
    error : type of FastbrainError
        Type of the error raised if another process holds the lock.

    Raises
    ------
    FastbrainError
        Of type `error`: another process uses the folder now.
    DiskError
        The file cannot be created, or the file system does not support locks.
    """
    path = Path(path)
    handle = _taken(path, what, error)
    try:
        yield
    finally:
        # removed while still locked: a process that has opened it meanwhile detects the removal
        with suppress(OSError):
            path.unlink(missing_ok=True)
        os.close(handle)


def _taken(path: Path, what: str, error: type[FastbrainError]) -> int:
    while True:
        with as_disk_error(path):
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            _lock(handle, path, what, error)
            if _is_current(handle, path):
                _sign(handle, path)
                return handle
        except BaseException:
            os.close(handle)
            raise
        # the holder removed the file after we opened it and before we locked it
        os.close(handle)


def _lock(handle: int, path: Path, what: str, error: type[FastbrainError]) -> None:
    with as_disk_error(path):
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as reason:
            if reason.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise
            raise error(
                f"{what}: {path.parent} must be used by one process at a time, got a second: "
                f"{_holder(handle)}. Wait for it to end, or choose another folder."
            ) from reason


def _is_current(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except FileNotFoundError:
        return False


def _sign(handle: int, path: Path) -> None:
    """Record this process as the holder; report a lock file left by another machine."""
    host = os.uname().nodename
    before = _read(handle)
    if before.get("host", host) != host:
        say(
            f"note: {path} was left by {_named(before)}. If that process still runs, this file "
            "system does not share locks between machines: stop one of the two."
        )
    now = time.strftime("%Y-%m-%d %H:%M:%S %z")
    with as_disk_error(path):
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps({"pid": os.getpid(), "host": host, "since": now}).encode(), 0)


def _holder(handle: int) -> str:
    said = _read(handle)
    return _named(said) if said else "an unknown process"


def _named(said: dict[str, object]) -> str:
    return f"pid {said.get('pid')} on host {said.get('host')} since {said.get('since')}"


def _read(handle: int) -> dict[str, object]:
    try:
        value = json.loads(os.pread(handle, _MOST_BYTES, 0))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
