"""Which runs there are: one record a run, from a plain table."""

from __future__ import annotations

import csv
import difflib
import os
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from .._arguments import checked
from .._io import safe_join, write_atomic
from ..errors import CohortError

MISSING = ("", "n/a")
_REQUIRED = ("subject", "run", "bold", "events")
_OPTIONAL = ("session", "family", "site", "mask", "confounds", "tr")
_TABLE_CAP = 64 << 20
_LABEL = re.compile(r"[A-Za-z0-9]+")
_SHOWN = 5


@dataclass(frozen=True)
class RunRecord:
    """One run of one person.

    Parameters
    ----------
    run_id : str
        Unique in the cohort, ``sub-01_ses-01_run-03``.
    subject, session, run : str
        Labels without their prefix; `session` is "" where there is none.
    bold, events : Path
        4-D image and events table.
    mask, confounds : Path or None
    tr : float or None
        Repetition time in seconds where a table or sidecar states it.
    root : Path or None
        Folder of the cohort; stimuli are looked up in ``root/stimuli``.
    family, site : str
        Family the person belongs to and place of the scan, "" where they are not known.
    """

    run_id: str
    subject: str
    session: str
    run: str
    bold: Path
    events: Path
    mask: Path | None = None
    confounds: Path | None = None
    tr: float | None = None
    root: Path | None = None
    family: str = ""
    site: str = ""


def run_id_of(subject: str, session: str, run: str) -> str:
    """Name of a run, ``sub-01_ses-01_run-03``; the session only where there is one."""
    middle = f"ses-{session}_" if session else ""
    return f"sub-{subject}_{middle}run-{run}"


@checked
def read_runs_table(
    path: str | Path, *, allow_outside: bool = False, must_exist: bool = True
) -> tuple[RunRecord, ...]:
    """Read a table with one run a row.

    Columns (tab separated): ``subject``, ``run``, ``bold``, ``events``, and if need be
    ``session``, ``family``, ``site``, ``mask``, ``confounds``, ``tr`` (seconds). Empty or ``n/a``
    means none.

    Parameters
    ----------
    path : str or Path
        Paths in the table are relative to its folder.
    allow_outside : bool
        Whether files outside the table's folder may be named.
    must_exist : bool
        Whether the files have to be there.

    Returns
    -------
    tuple of RunRecord
        In the order of the table.

    Raises
    ------
    CohortError
        An unknown or missing column, a label that is not letters and digits, a run named twice,
        or files that do not exist.
    """
    path = Path(path)
    columns, rows = read_tsv(path)
    _check_columns(path, columns)
    records = tuple(
        _record(path, number, row, allow_outside) for number, row in enumerate(rows, start=2)
    )
    if not records:
        raise CohortError(f"read_runs_table: {path} must hold at least one run, got none.")
    check_unique(path, records)
    if must_exist:
        check_files(path, records)
    return records


@checked
def write_runs_table(path: str | Path, runs: Iterable[RunRecord]) -> Path:
    """Write runs as :func:`read_runs_table` reads them, with absolute paths.

    Parameters
    ----------
    path : str or Path
    runs : iterable of RunRecord

    Returns
    -------
    Path
    """
    columns = [*_REQUIRED, *_OPTIONAL]
    lines = ["\t".join(columns)]
    for run in runs:
        lines.append("\t".join(_cell(getattr(run, name)) for name in columns))
    return write_atomic(path, "\n".join(lines) + "\n")


def _cell(value: Path | str | float | None) -> str:
    if isinstance(value, Path):
        return os.path.abspath(value)
    return "n/a" if value is None or value == "" else str(value)


def read_tsv(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Columns and rows of a tab-separated table with a header line; cells are stripped.

    Raises
    ------
    CohortError
        The file is missing, too large, not text, or a row has another number of cells.
    """
    try:
        if path.stat().st_size > _TABLE_CAP:
            raise CohortError(f"read_tsv: {path} must be at most 64 MiB. Is it really a table?")
        text = path.read_text(encoding="utf-8-sig")
        if "\0" in text:
            raise CohortError(f"read_tsv: {path} must be text, got a zero byte.")
        lines = list(csv.reader(text.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE))
    except (OSError, UnicodeDecodeError, csv.Error, ValueError) as error:
        if isinstance(error, CohortError):
            raise
        raise CohortError(f"read_tsv: {path} must be a readable table, got '{error}'.") from error
    cells = [[cell.strip() for cell in line] for line in lines if any(c.strip() for c in line)]
    if not cells:
        raise CohortError(f"read_tsv: {path} must have a header line, got an empty file.")
    columns = cells[0]
    twice = [name for name, count in Counter(columns).items() if count > 1]
    if twice:
        raise CohortError(f"read_tsv: {path} must name each column once, got {twice} twice.")
    for number, line in enumerate(cells[1:], start=2):
        if len(line) != len(columns):
            raise CohortError(
                f"read_tsv: {path} row {number} must have {len(columns)} cells, got {len(line)}. "
                "Separate them by tabs."
            )
    return columns, [dict(zip(columns, line, strict=True)) for line in cells[1:]]


def check_unique(source: Path, records: Iterable[RunRecord]) -> None:
    """Refuse two runs of the same name."""
    counts = Counter(record.run_id for record in records)
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
        raise CohortError(
            f"cohort: {source} must name each run once, got {some(twice)} more than once."
        )


def check_files(source: Path, records: Iterable[RunRecord]) -> None:
    """Refuse a cohort with missing files, in one error that counts and names them."""
    missing: list[Path] = []
    dangling: list[Path] = []
    for record in records:
        for file in (record.bold, record.events, record.mask, record.confounds):
            if file is not None and not os.path.isfile(file):
                (dangling if os.path.islink(file) else missing).append(file)
    if not missing and not dangling:
        return
    parts = []
    if missing:
        parts.append(f"{len(missing)} that do not exist: {some(missing)}")
    if dangling:
        parts.append(
            f"{len(dangling)} that are links to data not fetched yet: {some(dangling)} "
            "(run 'datalad get' or 'git annex get')"
        )
    raise CohortError(f"cohort: {source} must name files that exist, got {'; '.join(parts)}.")


def seconds_of(text: str, *, where: str) -> float | None:
    """A time cell in seconds; None where it is empty."""
    if text in MISSING:
        return None
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not value == value or value in (float("inf"), float("-inf")):
        raise CohortError(f"cohort: {where} must be a number of seconds, got '{text}'.")
    return value


def given(row: dict[str, str], column: str) -> str:
    """A cell, "" where it is empty, ``n/a`` or the table has no such column."""
    value = row.get(column, "")
    return "" if value in MISSING else value


def label_of(text: str, prefix: str, *, where: str) -> str:
    """A label with its prefix taken off; letters and digits only, as in BIDS."""
    label = text.removeprefix(prefix)
    if not _LABEL.fullmatch(label):
        raise CohortError(f"cohort: {where} must be letters and digits, got '{text}'.")
    return label


def _check_columns(path: Path, columns: list[str]) -> None:
    known = [*_REQUIRED, *_OPTIONAL]
    for name in columns:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"Did you mean '{close[0]}'?" if close else f"Columns are {', '.join(known)}."
            raise CohortError(f"read_runs_table: {path} has an unknown column '{name}'. {hint}")
    absent = [name for name in _REQUIRED if name not in columns]
    if absent:
        raise CohortError(
            f"read_runs_table: {path} must have the columns {', '.join(_REQUIRED)}, "
            f"got none named {', '.join(absent)}."
        )


def _record(path: Path, number: int, row: dict[str, str], allow_outside: bool) -> RunRecord:
    where = f"{path} row {number}"

    def file(column: str) -> Path | None:
        name = row.get(column, "")
        if name in MISSING:
            return None
        if allow_outside:
            return path.parent / name
        try:
            return safe_join(path.parent, name)
        except CohortError as error:
            raise CohortError(
                f"read_runs_table: {where} {column} must lie below {path.parent}, got '{name}'. "
                "Pass allow_outside=True if that is meant."
            ) from error

    bold, events = file("bold"), file("events")
    if bold is None or events is None:
        raise CohortError(f"read_runs_table: {where} must name a bold and an events file.")
    subject = label_of(row["subject"], "sub-", where=f"{where} subject")
    run = label_of(row["run"], "run-", where=f"{where} run")
    session = row.get("session", "")
    session = "" if session in MISSING else label_of(session, "ses-", where=f"{where} session")
    return RunRecord(
        run_id=run_id_of(subject, session, run),
        subject=subject,
        session=session,
        run=run,
        bold=bold,
        events=events,
        mask=file("mask"),
        confounds=file("confounds"),
        tr=seconds_of(row.get("tr", ""), where=f"{where} tr"),
        root=path.parent,
        family=given(row, "family"),
        site=given(row, "site"),
    )


def some(names: list[Path] | list[str]) -> str:
    """The first few names, and how many there are beside."""
    shown = ", ".join(str(name) for name in names[:_SHOWN])
    return shown + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
