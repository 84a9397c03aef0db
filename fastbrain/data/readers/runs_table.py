"""Records of runs, and the table with one run per row."""

from __future__ import annotations

import difflib
import os
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..._arguments import checked
from ..._io import write_atomic
from ...errors import CohortError, some
from .inside import inside
from .tables import Row, given, number_of, read_tsv, seconds_of, tsv_text

_REQUIRED = ("subject", "run", "bold", "events")
_OPTIONAL = (
    "session", "family", "site", "mask", "confounds", "tr", "start_time", "n_volumes",
    "instruction", "prompt", "space", "parcels", "volume", "subcortex", "dataset", "resolution",
)  # fmt: skip
_FILES = ("bold", "events", "mask", "confounds", "parcels", "volume", "subcortex")
_LABEL = re.compile(r"[A-Za-z0-9]+")


@checked(error=CohortError, least={"n_volumes": 1})
@dataclass(frozen=True)
class RunRecord:
    """One run of one subject.

    Parameters
    ----------
    run_id : str
        Unique in the cohort, ``sub-01_ses-01_run-03``.
    subject, session, run : str
        Labels without their prefix; `session` is "" if there is none.
    bold : Path
        4-D image.
    events : Path or None
        Events table; None for a scan to decode that has none.
    mask, confounds : Path or None
    tr : float or None
        Repetition time in seconds, if a table or sidecar states it.
    start_time : float
        Acquisition time of the first volume on the clock of the events, seconds.
    root : Path or None
        Folder of the cohort; stimuli are looked up in ``root/stimuli``.
    family, site : str
        Family of the subject and site of the scan, "" if not known.
    n_volumes : int or None
        Number of volumes that the image must have, from the runs table or from the volume times
        listed in its sidecar.
    instruction, prompt : str
        Those of every trial for which the events state none; "" for none.
    space, resolution : str
        Space of the image, and its resolution or density; "" if not known.
    parcels : Path or None
        Atlas that the run is averaged in, or table with the names of its parcels.
    volume, subcortex : Path or None
        For a pair of surfaces, the volumetric image of the run, and the label image of the
        subcortical structures that are taken from it.
    dataset : str
        Array of the run in an HDF5 file, which may hold several runs; "" for other files.
    """

    run_id: str
    subject: str
    session: str
    run: str
    bold: Path
    events: Path | None
    mask: Path | None = None
    confounds: Path | None = None
    tr: float | None = None
    start_time: float = 0.0
    root: Path | None = None
    family: str = ""
    site: str = ""
    n_volumes: int | None = None
    instruction: str = ""
    prompt: str = ""
    space: str = ""
    parcels: Path | None = None
    volume: Path | None = None
    subcortex: Path | None = None
    dataset: str = ""
    resolution: str = ""

    def __post_init__(self) -> None:
        for name in (*_FILES, "root"):
            if isinstance(getattr(self, name), str):
                object.__setattr__(self, name, Path(getattr(self, name)))

    @property
    def source(self) -> str:
        """Name of the recording in its folder: its file, and the array of an HDF5 file."""
        return f"{self.bold.name}:{self.dataset}" if self.dataset else self.bold.name

    def events_table(self) -> Path:
        """Return the path of the events table; raises :class:`CohortError` if there is none."""
        if self.events is None:
            raise CohortError(
                f"RunRecord: {self.run_id} must have an events table, got none. Name it, or decode "
                "windows at a fixed step (fastbrain decode --every N)."
            )
        return self.events


def run_id_of(subject: str, session: str, run: str) -> str:
    """Build the name of a run, ``sub-01_ses-01_run-03``; no ``ses-`` if there is no session."""
    middle = f"ses-{session}_" if session else ""
    return f"sub-{subject}_{middle}run-{run}"


@checked
def read_runs_table(
    path: str | Path,
    *,
    allow_outside: bool = False,
    must_exist: bool = True,
    need_events: bool = True,
) -> tuple[RunRecord, ...]:
    """Read a table with one run per row.

    Columns (tab separated): ``subject``, ``run``, ``bold``, ``events``; optional ``session``,
    ``family``, ``site``, ``mask``, ``confounds``, ``tr``, ``start_time`` (seconds), ``n_volumes``,
    ``space``, ``parcels``, ``volume``, ``subcortex``, ``dataset``, ``resolution``, and
    ``instruction`` and ``prompt`` of all trials; ``n/a`` means none.

    Parameters
    ----------
    path : str or Path
        Paths in the table are relative to its folder.
    allow_outside : bool
        Whether files may lie outside the folder of the table.
    must_exist : bool
        Whether the files must exist.
    need_events : bool
        Whether the column ``events`` must be there, with a table for each run.

    Returns
    -------
    tuple of RunRecord
        In the order of the table.

    Raises
    ------
    CohortError
        A column, label, number or file is invalid or missing, or a run is named twice.
    """
    path = Path(path)
    columns, rows = read_tsv(path)
    _check_columns(path, columns, need_events)
    if not rows:
        raise CohortError(f"read_runs_table: {path} must hold at least one run, got none.")
    records = tuple(_record(path, row, allow_outside, need_events) for row in rows)
    check_unique(path, records)
    if must_exist:
        check_files(path, records)
    return records


@checked
def write_runs_table(path: str | Path, runs: Iterable[RunRecord]) -> Path:
    """Write runs in the format of :func:`read_runs_table`, with absolute paths.

    Parameters
    ----------
    path : str or Path
    runs : iterable of RunRecord

    Returns
    -------
    Path
    """
    columns = [*_REQUIRED, *_OPTIONAL]
    rows = [[_cell(getattr(run, name)) for name in columns] for run in runs]
    return write_atomic(path, tsv_text(columns, rows))


def _cell(value: Path | str | float | None) -> str:
    if isinstance(value, Path):
        return os.path.abspath(value)
    return "n/a" if value is None or value == "" else str(value)


def check_unique(source: Path, records: Iterable[RunRecord]) -> None:
    """Raise for two runs with the same name, and for one image of two runs."""
    records = list(records)
    of: dict[tuple[str, str], str] = {}
    for record in records:
        place = os.path.realpath(record.bold), record.dataset
        other = of.setdefault(place, record.run_id)
        if other != record.run_id:
            raise CohortError(
                f"cohort: {source} must have an image for each run, got {record.bold} for {other} "
                f"and {record.run_id}. Name the image of each; a run that is cut in two is one run."
            )
    counts = Counter(record.run_id for record in records)
    if twice := [name for name, count in counts.items() if count > 1]:
        said = f"cohort: {source} must name each run once, got {some(twice)} more than once."
        raise CohortError(said)


def check_files(source: Path, records: Iterable[RunRecord]) -> None:
    """Raise for missing files, in one error that counts and names them."""
    missing, dangling = list[Path](), list[Path]()
    for record in records:
        for file in (getattr(record, name) for name in _FILES):
            if file is not None and not os.path.isfile(file):
                (dangling if os.path.islink(file) else missing).append(file)
    if not missing and not dangling:
        return
    parts = []
    parts += [f"{len(missing)} that do not exist: {some(missing)}"] if missing else []
    if dangling:
        parts.append(
            f"{len(dangling)} that are links to data not fetched yet: {some(dangling)} "
            "(run 'datalad get' or 'git annex get')"
        )
    raise CohortError(f"cohort: {source} must name files that exist, got {'; '.join(parts)}.")


def label_of(text: str, prefix: str, *, where: str) -> str:
    """Strip the prefix of a label and check that it is letters and digits, as in BIDS."""
    label = text.removeprefix(prefix)
    if not _LABEL.fullmatch(label):
        raise CohortError(f"cohort: {where} must be letters and digits, got '{text}'.")
    return label


def _check_columns(path: Path, columns: list[str], need_events: bool) -> None:
    known = [*_REQUIRED, *_OPTIONAL]
    for name in columns:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"Did you mean '{close[0]}'?" if close else f"Columns are {', '.join(known)}."
            raise CohortError(f"read_runs_table: {path} has an unknown column '{name}'. {hint}")
    required = [name for name in _REQUIRED if need_events or name != "events"]
    absent = [name for name in required if name not in columns]
    if absent:
        raise CohortError(
            f"read_runs_table: {path} must have the columns {', '.join(required)}, "
            f"got none named {', '.join(absent)}."
        )


def _record(path: Path, row: Row, allow_outside: bool, need_events: bool) -> RunRecord:
    where = row.where

    def file(column: str) -> Path | None:
        name = given(row, column)
        if not name or allow_outside:
            return path.parent / name if name else None
        return inside(path.parent, name, what=f"read_runs_table: {where} {column}")

    bold, events = file("bold"), file("events")
    if bold is None or (events is None and need_events):
        wanted = "a bold and an events file" if need_events else "a bold file"
        raise CohortError(f"read_runs_table: {where} must name {wanted}.")
    subject = label_of(given(row, "subject", label=True), "sub-", where=f"{where} subject")
    run = label_of(given(row, "run", label=True), "run-", where=f"{where} run")
    session = given(row, "session", label=True)
    session = label_of(session, "ses-", where=f"{where} session") if session else ""
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
        start_time=seconds_of(row.get("start_time", ""), where=f"{where} start_time") or 0.0,
        root=path.parent,
        family=given(row, "family", label=True),
        site=given(row, "site", label=True),
        n_volumes=_count(row.get("n_volumes", ""), where=f"{where} n_volumes"),
        instruction=given(row, "instruction", spoken=True),
        prompt=given(row, "prompt", spoken=True),
        space=given(row, "space", label=True),
        parcels=file("parcels"),
        volume=file("volume"),
        subcortex=file("subcortex"),
        dataset=given(row, "dataset"),
        resolution=given(row, "resolution", label=True),
    )


def _count(text: str, *, where: str) -> int | None:
    value = number_of(text, where=where, what="a number of volumes")
    if value is not None and (value < 1 or value != int(value)):
        raise CohortError(
            f"read_runs_table: {where} must be a whole number >= 1, got '{text}'. Correct it, or "
            "write n/a."
        )
    return None if value is None else int(value)
