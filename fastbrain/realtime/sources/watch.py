"""New files of a folder: events where they are delivered, and polling always."""

from __future__ import annotations

import contextlib
import os
import stat
import time
from pathlib import Path

from ...errors import InputError
from ..volume import Clock, MonotonicClock
from .inotify import FolderEvents

SLOW_SCAN_S = 1.0  # while events are delivered
_SHARE = 10  # a scan may take one part in so many of the time
_UNFINISHED = (".tmp", ".temp", ".part", ".partial", ".filepart", ".crdownload", ".swp", "~")


class FolderWatch:
    """Tells which files of a folder are new or were replaced.

    Parameters
    ----------
    folder : Path
    clock : Clock
    poll_s : float
        Longest time between two looks at the folder while events are not delivered, unless a look
        takes longer than a tenth of it.

    Raises
    ------
    InputError
        The folder does not exist.
    """

    def __init__(self, folder: Path, clock: Clock, poll_s: float) -> None:
        if not os.path.isdir(folder):
            raise InputError(
                f"open_source: folder must exist, got {folder}. Create it, or name the folder to "
                "which the scanner exports."
            )
        self._folder, self._clock, self._poll_s = folder, clock, poll_s
        self._events = FolderEvents(folder)
        self._delivered = True
        self._known: dict[str, tuple[int, int]] = {}  # inode and time of change by name
        self._scanned = False
        self._next_scan = clock.now()

    def wait(self) -> None:
        """Wait for an event, at most `poll_s`."""
        # only time that passes by itself can be waited for in the kernel
        real = isinstance(self._clock, MonotonicClock)
        if not real or not self._events.wait(self._poll_s):
            self._clock.sleep(self._poll_s)

    def names(self) -> list[str]:
        """List names that are new or were replaced, in order of arrival as far as it is known."""
        reported, lost = self._events.names()
        for name, removed in reported.items():
            if removed:
                self._known.pop(name, None)
        found = [name for name in reported if self._is_new(name)]
        now = self._clock.now()
        if now < self._next_scan and not lost:
            return found
        begin = time.perf_counter()
        scanned = self._scan()
        taken = time.perf_counter() - begin
        # what came since the first look is in both, or in the reports only
        late, _ = self._events.names()
        if self._scanned and any(name not in late for name in scanned):
            self._delivered = False
        slow = SLOW_SCAN_S if self._delivered else self._poll_s
        self._next_scan = now + max(slow, _SHARE * taken)
        self._scanned = True
        return found + scanned + [name for name in late if self._is_new(name)]

    def _scan(self) -> list[str]:
        """List names that are new or were replaced, by time of their last change."""
        found, present = [], set()
        try:
            with os.scandir(self._folder) as entries:
                for entry in entries:
                    present.add(entry.name)
                    known = self._known.get(entry.name)
                    if (known is None or known[0] != entry.inode()) and not unfinished(entry.name):
                        found.append(entry.name)
        except OSError:  # a share that is away for a while
            return []
        for gone in self._known.keys() - present:
            del self._known[gone]
        times = {name: self._changed(name) for name in found}
        ordered = sorted((when, name) for name, when in times.items() if when is not None)
        return [name for _, name in ordered if self._is_new(name)]

    def _changed(self, name: str) -> int | None:
        try:
            return os.stat(self._folder / name).st_mtime_ns
        except OSError:
            return None

    def _is_new(self, name: str) -> bool:
        """Note a name; return whether it is another file than the one noted."""
        if unfinished(name):
            return False
        try:
            found = os.stat(self._folder / name)
        except OSError:
            return False
        state, known = (found.st_ino, found.st_mtime_ns), self._known.get(name)
        # some shares give a file another inode now and then, with the same time
        same = known is not None and (known[0] == state[0] or known[1] == state[1])
        if not stat.S_ISREG(found.st_mode) or same:
            return False
        self._known[name] = state
        return True

    def settle(self, name: str) -> None:
        """Note the state of a file that was complete when it was read."""
        with contextlib.suppress(OSError):  # removed since
            found = os.stat(self._folder / name)
            self._known[name] = (found.st_ino, found.st_mtime_ns)

    def close(self) -> None:
        """Free the watch."""
        self._events.close()


def unfinished(name: str) -> bool:
    """Whether a name is one under which programs keep files that they have not finished."""
    return name.startswith(".") or name.lower().endswith(_UNFINISHED)
