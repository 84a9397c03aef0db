"""A folder as a source: files that are there, then files that arrive, each when it is complete."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ...errors import VolumeError
from ..volume import BadVolume, Clock, Volume
from .watch import FolderWatch

Item = Volume | BadVolume


@dataclass(frozen=True)
class Unfinished:
    """A file that is not complete.

    Parameters
    ----------
    needed : int
        Bytes that it has at least when it is worth another look.
    reason : str
        Why it is not a volume yet; one sentence without fields of the file.
    index : int or None
        Number of its volume, if known.
    """

    needed: int
    reason: str
    index: int | None = None


class FileReader(Protocol):
    """Interface of the readers of the files in a folder."""

    def wanted(self, name: str) -> bool:
        """Whether a name can be that of a volume."""

    def order(self, folder: Path, names: list[str]) -> Iterator[list[str] | None]:
        """Yield None between looks at the files that are there at first; at last, their order."""

    def read(self, path: Path, now: float) -> list[Item] | Unfinished:
        """Return the volumes that a file completes."""

    def overdue(self, before: float | None, index: int | None, now: float) -> list[BadVolume]:
        """Give up volumes of several files: those older than `before`, or in front of `index`."""

    def close(self) -> None:
        """Drop what is held of volumes of several files."""


@dataclass
class _Pending:
    name: str
    order: int
    since: float
    seen: tuple[int, int]  # size and time of the last change
    state: Unfinished
    given_up: bool = False


class FolderSource:
    """Volumes from the files of a folder.

    Parameters
    ----------
    name : str
    folder : Path
    reader : FileReader
    tr_s : float or None
        Repetition time, seconds.
    clock : Clock
    poll_s : float
        Longest time without a yield, seconds.
    patience_s : float or None
        A file that has not grown for so many seconds and is not complete becomes a
        :class:`BadVolume`; with None, it becomes one when a later file completes a volume.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        reader: FileReader,
        *,
        tr_s: float | None,
        clock: Clock,
        poll_s: float,
        patience_s: float | None,
    ) -> None:
        self.name, self.tr_s = name, tr_s
        self._folder, self._reader, self._clock = folder, reader, clock
        self._poll_s, self._patience_s = poll_s, patience_s
        self._watch = FolderWatch(folder, clock, poll_s)
        self._pending: dict[str, _Pending] = {}
        self._seen = 0
        self._started = False
        # held while the watch is waited for, so that it is not freed under the wait
        self._lock = threading.Lock()
        self._closed = threading.Event()

    def __iter__(self) -> Iterator[Volume | BadVolume | None]:
        """Yield volumes in order, unreadable ones, and None while nothing arrives."""
        queue: list[str] = []
        if not self._started:
            names = [n for n in self._names() if self._reader.wanted(n)]
            for answer in self._reader.order(self._folder, names):
                if self._closed.is_set():
                    return
                if answer is None:
                    yield None
                else:
                    queue = answer
            self._started = True
        while not self._closed.is_set():
            idle = True
            for name in queue:
                for item in self._arrived(name):
                    idle = False
                    yield item
                    if self._closed.is_set():
                        return
            for item in self._look_again():
                idle = False
                yield item
                if self._closed.is_set():
                    return
            if idle:
                with self._lock:
                    if self._closed.is_set():
                        return
                    self._watch.wait()
                yield None
            queue = [name for name in self._names() if self._reader.wanted(name)]

    def close(self) -> None:
        """Free the watch; iteration ends."""
        self._closed.set()
        with self._lock:
            self._watch.close()
            self._pending.clear()
            self._reader.close()

    def _names(self) -> list[str]:
        with self._lock:
            return [] if self._closed.is_set() else self._watch.names()

    def _arrived(self, name: str) -> list[Item]:
        self._seen += 1
        self._pending.pop(name, None)
        return self._after(self._try(name, self._seen, None), self._seen)

    def _try(self, name: str, order: int, before: _Pending | None) -> list[Item]:
        """Read a file; keep it for another look if it is not complete."""
        path, now = self._folder / name, self._clock.now()
        try:
            # before the contents, so that bytes that come in between lead to another look
            seen = self._state(name)
            answer = self._reader.read(path, now)
        except FileNotFoundError:
            self._pending.pop(name, None)
            return []
        except OSError as error:
            seen, answer = (-1, 0), Unfinished(0, f"A file cannot be read: {error.strerror}.")
        if isinstance(answer, Unfinished):
            same = before is not None and seen == before.seen
            since = before.since if before is not None and same else now
            gone = before is not None and same and before.given_up
            self._pending[name] = _Pending(name, order, since, seen, answer, gone)
            return []
        self._pending.pop(name, None)
        self._watch.settle(name)
        return answer

    def _after(self, items: list[Item], order: int) -> list[Item]:
        """Put what a complete volume overtakes in front of it, if files are given up so."""
        if self._patience_s is not None:
            return items
        result: list[Item] = []
        for item in items:
            if isinstance(item, Volume):
                result += self._overtaken(order)
                result += self._reader.overdue(None, item.index, self._clock.now())
            result.append(item)
        return result

    def _overtaken(self, order: int) -> list[Item]:
        """Give up files that came before, unless they have become complete since the last look."""
        result: list[Item] = []
        earlier = [p for p in self._pending.values() if p.order < order and not p.given_up]
        for pending in sorted(earlier, key=lambda p: p.order):
            result += self._try(pending.name, pending.order, pending)
            left = self._pending.get(pending.name)
            if left is not None and not left.given_up:
                result.append(self._give_up(left))
        return result

    def _look_again(self) -> list[Item]:
        result: list[Item] = []
        for pending in list(self._pending.values()):
            if self._pending.get(pending.name) is not pending:
                continue  # looked at again because of another one
            try:
                seen = self._state(pending.name)
            except OSError:
                self._pending.pop(pending.name, None)
                continue
            # some programs reserve the whole size first
            filled = seen[0] == pending.seen[0]
            if seen != pending.seen and (filled or seen[0] >= pending.state.needed):
                items = self._try(pending.name, pending.order, pending)
                result += self._after(items, pending.order)
            elif seen != pending.seen:
                pending.seen, pending.since = seen, self._clock.now()
        if self._patience_s is not None:
            now = self._clock.now()
            before = now - self._patience_s
            late = [p for p in self._pending.values() if p.since <= before and not p.given_up]
            result += [self._give_up(pending) for pending in late]
            result += self._reader.overdue(before, None, now)
        return result

    def _state(self, name: str) -> tuple[int, int]:
        found = os.stat(self._folder / name)
        return found.st_size, found.st_mtime_ns

    def _give_up(self, pending: _Pending) -> BadVolume:
        pending.given_up = True
        return BadVolume(pending.state.index, pending.state.reason, self._clock.now())


def refusal(error: VolumeError, path: Path) -> str:
    """Return the reason of an error without the name of the file, which may be that of a person."""
    return str(error).replace(str(path), "the file").replace(path.name, "the file")
