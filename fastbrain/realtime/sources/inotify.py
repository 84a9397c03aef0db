"""Names of files that the Linux kernel reports for one folder (inotify(7)).

A small binding in place of a package: the packages start a thread with a queue without bound, or
gather events for 50 ms and more, and the folder has to be polled anyway because network shares
report nothing.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import struct
import sys
from pathlib import Path

_CLOSE_WRITE, _MOVED_FROM, _MOVED_TO, _CREATE, _DELETE = 0x8, 0x40, 0x80, 0x100, 0x200
_OVERFLOW = 0x4000
_EVENT = struct.Struct("iIII")
_BUFFER = 1 << 16


class FolderEvents:
    """Events of one folder; without inotify there are none.

    Parameters
    ----------
    folder : Path
    """

    def __init__(self, folder: Path) -> None:
        self._handle = _open(folder)

    def wait(self, seconds: float) -> bool:
        """Wait for an event at most so long; return whether one can be waited for."""
        if self._handle is None:
            return False
        # interrupted by a signal: the caller looks at its state and waits again
        with contextlib.suppress(InterruptedError):
            select.select([self._handle], [], [], seconds)
        return True

    def names(self) -> tuple[dict[str, bool], bool]:
        """Take the reported names.

        Returns
        -------
        dict of str to bool
            Names in the order of their first report, and whether a file of that name was removed.
        bool
            Whether reports were lost.
        """
        found: dict[str, bool] = {}
        lost = False
        while self._handle is not None:
            try:
                block = os.read(self._handle, _BUFFER)
            except (BlockingIOError, InterruptedError):
                break
            at = 0
            while at + _EVENT.size <= len(block):
                _, mask, _, length = _EVENT.unpack_from(block, at)
                at += _EVENT.size
                name = os.fsdecode(block[at : at + length].rstrip(b"\0"))
                at += length
                lost |= bool(mask & _OVERFLOW)
                if name:
                    found[name] = found.get(name, False) or bool(mask & (_DELETE | _MOVED_FROM))
        return found, lost

    def close(self) -> None:
        """Free the handle."""
        handle, self._handle = self._handle, None
        if handle is not None:
            os.close(handle)


def _open(folder: Path) -> int | None:
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "inotify_init1"):
        return None
    handle = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    if handle < 0:  # too many instances of this user
        return None
    mask = _CLOSE_WRITE | _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE
    if libc.inotify_add_watch(handle, os.fsencode(folder), ctypes.c_uint32(mask)) < 0:
        os.close(handle)
        return None
    return int(handle)
