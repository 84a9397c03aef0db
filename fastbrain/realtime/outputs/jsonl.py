"""The log of a session: JSON lines, each flushed as it is written.

The first line is the header, then come records, marks, one line at each end, and the repetition
time where only the first volume states it. A process that is killed leaves complete lines and at
most one incomplete line at the end, which the next session removes. Nothing in the log names a
person or a time of day; decoded text is in it only on request.
"""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import IO, Any

from ..._arguments import checked
from ..._io import as_disk_error
from ...errors import ConfigError, DiskError
from ..session.events import Event
from ..session.records import SCHEMA

_TAIL_BYTES = 1 << 20  # some thousand records
_MOST_LINE = 1 << 20
_KINDS = ("record", "mark", "tr", "end")
_OF_TEXT = ("text", "ranked")
_SAME = ("schema", "run", "tr_s", "source")


class JsonlLog:
    """Append-only log of a session, also of several one after the other.

    Parameters
    ----------
    path : str or Path
        A new file, or the log of an earlier session of the same run, which is continued.
    run : str or None
        Digest of the model's run; None where nothing is decoded.
    source : str
        Name of the source's kind.
    tr_s : float or None
        Repetition time in seconds, if it is known before the first volume.
    deadline_s : float or None
    text : bool
        Whether to write decoded text.

    Attributes
    ----------
    first : int
        Number of the next TR without a record.
    open_before : tuple of int
        Earlier TRs without a record.

    Raises
    ------
    ConfigError
        The file is the log of another run, repetition time or source, or no log.
    DiskError
        The file cannot be written, or another session writes it now.
    """

    @checked
    def __init__(
        self,
        path: str | Path,
        *,
        run: str | None,
        source: str,
        tr_s: float | None = None,
        deadline_s: float | None = None,
        text: bool = False,
    ) -> None:
        self.path, self.text, self.dropped = Path(path), text, 0
        header = {"type": "header", "schema": SCHEMA, "run": run, "source": source, "tr_s": tr_s}
        header |= {"deadline_s": deadline_s, "text": text}
        with as_disk_error(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file: IO[bytes] = open(self.path, "ab+")
        try:
            self._hold()
            self.first, self.open_before = self._continued(header)
        except BaseException:
            self._file.close()
            raise
        if self._file.seek(0, os.SEEK_END) == 0:
            self._line(header)
        else:
            self._line({"type": "resumed", "first": self.first, "text": text})

    def write(self, event: Event) -> None:
        """Write a record, a mark, a repetition time or the end; other events are left out.

        Raises
        ------
        DiskError
            The disk is full or was removed.
        """
        if event["type"] not in _KINDS:
            return
        hidden = () if self.text else _OF_TEXT
        self._line({name: value for name, value in event.items() if name not in hidden})

    def close(self) -> None:
        """Close the file; may be called twice."""
        with as_disk_error(self.path):
            self._file.close()

    def _line(self, value: dict[str, Any]) -> None:
        with as_disk_error(self.path):
            self._file.write(json.dumps(value, ensure_ascii=False).encode() + b"\n")
            self._file.flush()

    def _hold(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise DiskError(
                f"JsonlLog: {self.path} must be written by one session at a time, got a second "
                f"one ({error.strerror}). Choose another file."
            ) from error

    def _continued(self, header: dict[str, Any]) -> tuple[int, tuple[int, ...]]:
        """Compare the header with an earlier one, remove an incomplete line, find the last TRs."""
        with as_disk_error(self.path):
            size = self._file.seek(0, os.SEEK_END)
            if not size:
                return 0, ()
            self._file.seek(0)
            first = self._file.readline(_MOST_LINE)
        if not first.endswith(b"\n"):
            self._same({}, header)
        found = _parsed(first)
        self._same(found, header)
        with as_disk_error(self.path):
            start = max(len(first), size - _TAIL_BYTES)
            self._file.seek(start)
            tail = self._file.read()
            torn = len(tail) - (tail.rfind(b"\n") + 1)
            if torn:
                self._file.truncate(size - torn)
        lines = tail[: len(tail) - torn].split(b"\n")
        # the first piece may be the end of a line
        rows = [_parsed(line) for line in lines[1 if start > len(first) else 0 :]]
        seen = {row["index"] for row in rows if _is_record(row)}
        if not seen:
            return _after_marks(rows), ()
        low = min(seen) if start > len(first) else 0
        last = max(seen)
        return last + 1, tuple(i for i in range(low, last) if i not in seen)

    def _same(self, found: dict[str, Any], header: dict[str, Any]) -> None:
        if found.get("type") != "header":
            raise ConfigError(
                f"JsonlLog: {self.path} must be new or the log of a session, got another file. "
                "Choose another name."
            )
        other = [name for name in _SAME if found.get(name) != header[name]]
        if other:
            raise ConfigError(
                f"JsonlLog: {self.path} must be the log of the same run, got another "
                f"{', '.join(other)}. Choose another file."
            )


def _is_record(row: dict[str, Any]) -> bool:
    return row.get("type") == "record" and _is_count(row.get("index")) and "status" in row


def _is_whole(row: dict[str, Any]) -> bool:
    if row.get("type") == "record":
        return _is_record(row)
    if row.get("type") == "mark":
        return isinstance(row.get("index"), int) and isinstance(row.get("label"), str)
    return "type" in row


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _after_marks(rows: list[dict[str, Any]]) -> int:
    """First TR of a log without records: that of its last session."""
    begun = [row for row in rows if row.get("type") == "resumed"]
    starts = [int(row["first"]) for row in begun if _is_count(row.get("first"))]
    return starts[-1] if starts else 0


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


@checked
def read_session_log(path: str | Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Read the header and the other lines of a log; incomplete and damaged lines are left out.

    Raises
    ------
    ConfigError
        The file is no log of a session.
    """
    with as_disk_error(Path(path)):
        lines = Path(path).read_bytes().split(b"\n")
    header = _parsed(lines[0])
    if header.get("type") != "header" or header.get("schema") != SCHEMA:
        raise ConfigError(
            f"read_session_log: {path} must be the log of a session of schema {SCHEMA}, got "
            "another file. Name one that fastbrain live --log has written."
        )
    return header, [row for row in map(_parsed, lines[1:]) if _is_whole(row)]
