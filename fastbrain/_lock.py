"""A lock on a folder, held by one process at a time.

``flock`` belongs to the open file, so the kernel lifts it when its holder ends in any way: there
are no stale locks. The lock file only says who holds it, for the message to the one who comes
second, and it is removed with the lock.

NFS (Linux, version 3 with lockd, or 4) applies ``flock`` between machines. A file system that does
not know it at all (some mounts of Lustre) is refused. One that applies it on each machine alone
(``localflock``, ``local_lock=flock``) cannot be told from inside: there, a lock file left by
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
    """Hold the lock of a folder; a second process is refused and told who holds it.

    Parameters
    ----------
    path : str or Path
        The lock file; its folder is what is locked, and has to exist.
    what : str
        Who asks, for the message: ``"prepare_store"``.
    error : type of FastbrainError
        What is raised where another process holds it.

    Raises
    ------
    FastbrainError
        Of type `error`: another process works in the folder now.
    DiskError
        The file cannot be made, or the file system knows no locks.
    """
    path = Path(path)
    handle = _taken(path, what, error)
    try:
        yield
    finally:
        # removed while it is still locked: whoever opened it meanwhile sees that it has gone
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
        # its holder removed it between our opening and our locking it
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
    """Write who holds the lock, and tell of another machine that never gave it back."""
    host = os.uname().nodename
    before = _read(handle)
    if before.get("host", host) != host:
        say(
            f"note: {path} was left by {_told(before)}. If that process still runs, this file "
            "system does not share locks between machines: stop one of the two."
        )
    now = time.strftime("%Y-%m-%d %H:%M:%S %z")
    with as_disk_error(path):
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps({"pid": os.getpid(), "host": host, "since": now}).encode(), 0)


def _holder(handle: int) -> str:
    said = _read(handle)
    return _told(said) if said else "a process that has not said which"


def _told(said: dict[str, object]) -> str:
    return f"pid {said.get('pid')} on host {said.get('host')} since {said.get('since')}"


def _read(handle: int) -> dict[str, object]:
    try:
        value = json.loads(os.pread(handle, _MOST_BYTES, 0))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
