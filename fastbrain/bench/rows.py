"""Rows of measurements: one JSON object a line, appended as soon as it is known.

Nothing here imports torch.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from .._io import as_disk_error
from ..errors import InputError, some

Row = dict[str, Any]
OURS = "fastbrain"
# of rows that are no times: a fact about the run, or why a provider has no time
FACTS = ("build", "peer", "roofline", "sanitizer", "readout")
VERDICTS = ("dropped_", "failed_", "sanitizer_", "selftest_", "skipped_")


def is_timed(row: Row) -> bool:
    """Whether a row is the time of a provider on a case of an op."""
    own = row["op"] not in FACTS and not row["op"].startswith(VERDICTS)
    return own and {"case", "provider", "ms_p50", "ms_p20", "ms_p80", "rounds"} <= row.keys()


def is_rival(row: Row) -> bool:
    """Whether a row is of other software: no variant of ours, and no ceiling."""
    return not (row["provider"].startswith(OURS) or row.get("ceiling"))


def compared_with(row: Row, rows: Iterable[Row]) -> Row | None:
    """Our row among those of a case that the ratio of a rival's row refers to."""
    name = row.get("against", OURS)
    return next((own for own in rows if own["provider"] == name), None)


def device_of(row: Row) -> str:
    """Name of the GPU or processor, without trade marks."""
    name = row["env"].get("gpu") or row["env"].get("cpu") or "unknown"
    return " ".join(name.replace("(R)", "").replace("(TM)", "").split()).removesuffix(" Processor")


def machine_of(row: Row) -> str:
    """Name given to the machine, or that of its device."""
    return row.get("machine") or device_of(row)


def cache_of(row: Row) -> str:
    """State of the cache before each call; a CPU row without one is warm."""
    return row.get("cache") or "warm"


def key_of(row: Row) -> tuple[Any, ...]:
    """What must be equal for two times to be comparable between machines or commits."""
    names = row["op"], row["case"], row["provider"], row.get("dtype")
    return (*names, cache_of(row), row.get("way") or "call", row["env"].get("threads"))


def label_of(key: tuple[Any, ...]) -> str:
    """Readable form of a key without its provider: ``vq_lookup 64x8192x256, 2 threads``."""
    op, case, _, dtype, cache, way, threads = key
    extra = [dtype if dtype != "float32" else None, cache if cache != "warm" else None]
    extra += [way if way != "call" else None]
    shown = " ".join(str(part) for part in (op, case, *extra) if part)
    return shown if threads is None else f"{shown}, {threads_in_words(threads)}"


def threads_in_words(count: int | None) -> str:
    """Number of threads with its noun: ``1 thread``, ``2 threads``."""
    return f"{count} thread{'s' * (count != 1)}"


def read_rows(paths: Sequence[str | Path]) -> list[Row]:
    """Read files of rows, oldest first as they are given.

    Parameters
    ----------
    paths : sequence of str or Path
        Files, or folders with ``*.jsonl`` below them. A last line without its end is left out: the
        process that wrote it was killed.

    Returns
    -------
    list of dict

    Raises
    ------
    InputError
        A file is missing or holds something else than rows.
    """
    files: list[Path] = []
    for path in map(Path, paths):
        found = sorted(path.glob("**/*.jsonl")) if path.is_dir() else [path]
        if not found or not found[0].is_file():
            raise InputError(
                f"read_rows: path must be a file of rows or a folder of them, got {path}. "
                "`fastbrain bench run --out FILE` writes one."
            )
        files += found
    return [row for file in files for row in _rows_of(file)]


def _rows_of(file: Path) -> Iterable[Row]:
    text = file.read_bytes().decode("utf-8", errors="replace")
    lines = text.split("\n")[:-1]
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            row["op"], row["env"]["date"]
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"read_rows: {file} must hold one row a line with 'op' and 'env', got line "
                f"{number}: {line[:80]!r}. Remove the line."
            ) from error
        yield row


def timed_rows(rows: Iterable[Row], *, function: str) -> list[Row]:
    """The rows that are times.

    Raises
    ------
    InputError
        There is none.
    """
    rows = list(rows)
    timed = [row for row in rows if is_timed(row)]
    if not timed:
        ops = some(sorted({row["op"] for row in rows})) or "no row"
        raise InputError(
            f"{function}: rows must hold times of providers, got {ops}. "
            "`fastbrain bench run --out FILE` writes them."
        )
    return timed


def newest(rows: Iterable[Row]) -> list[Row]:
    """The newest row of each machine and key, in the order of their first appearance."""
    found: dict[tuple[Any, ...], Row] = {}
    for row in rows:
        found[(machine_of(row), *key_of(row))] = row
    return list(found.values())


class RowFile:
    """A file of rows that a run appends to, and that a later run continues.

    Parameters
    ----------
    path : Path or None
        None keeps nothing.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.rows: list[Row] = []
        if path is not None and path.exists():
            self._drop_unfinished(path)
            self.rows = list(_rows_of(path))

    @staticmethod
    def _drop_unfinished(path: Path) -> None:
        data = path.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            with as_disk_error(path), path.open("r+b") as file:
                file.truncate(whole)

    def append(self, rows: Sequence[Row]) -> None:
        """Add rows in one write, and wait until the disk has them.

        Raises
        ------
        DiskError
        """
        self.rows += rows
        if self.path is None or not rows:
            return
        text = "".join(json.dumps(row) + "\n" for row in rows)
        with as_disk_error(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
