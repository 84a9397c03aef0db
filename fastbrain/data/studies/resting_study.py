"""Resting-state study as a folder: region time courses and variables of each subject.

::

    participants.tsv     participant_id, and a column for each variable (age, sex, family ...)
    series/ID.npy        (regions, T) float32 or float64
    study.json           {"tr": seconds, "regions": [names]}
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..._arguments import checked
from ..._arrays import read_npy
from ..._io import folder_atomic, read_json, safe_join, write_atomic, write_json
from ..._rules import number
from ...errors import CohortError
from ..readers.participants import person_columns
from ..readers.tables import Row, given, number_of, read_tsv, tsv_text
from ..readers.unfetched import refuse_unfetched
from ..simulate.resting_cohort import OLDEST, YOUNGEST, RestCohort

_ID = "participant_id"
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_A_NUMBER = "{} must be a number for every person"


@dataclass(frozen=True)
class RestingStudy:
    """A resting-state study with one recording per subject.

    Parameters
    ----------
    series : dict of str to ndarray, (R, T)
        By subject, in the order of the table.
    table : dict of str to dict of str to str
        Table row of each subject, by column name.
    tr : float
        Repetition time, seconds.
    regions : tuple of str
    path : Path or None
        Folder that the study was read from.
    """

    series: dict[str, npt.NDArray[np.floating]]
    table: dict[str, dict[str, str]]
    tr: float
    regions: tuple[str, ...]
    path: Path | None = field(default=None, compare=False)

    def numbers(self, column: str) -> dict[str, float]:
        """Return a numeric variable by subject.

        Raises
        ------
        CohortError
            There is no such column, or a value is missing or not a number.
        """
        values = {}
        for person, row in self.table.items():
            text = row.get(column, "")
            try:
                value = number_of(text, where=f"{column} of {person}")
            except CohortError as error:
                raise CohortError(f"RestingStudy: {_A_NUMBER.format(column)}: {error}") from error
            if value is None:
                raise CohortError(
                    f"RestingStudy: {_A_NUMBER.format(column)}, got {text!r} for {person}. "
                    f"Columns: {', '.join(row)}. Leave that person out of the table."
                )
            values[person] = value
        return values

    def labels(self, column: str) -> dict[str, str]:
        """Return a label by subject, for example sex or diagnosis.

        Raises
        ------
        CohortError
            There is no such column, a value is missing, or all are equal.
        """
        values = {person: given(row, column) for person, row in self.table.items()}
        without = [person for person, label in values.items() if not label]
        if without or len(set(values.values())) < 2:
            raise CohortError(
                f"RestingStudy: {column} must be two labels or more, and one for every person, got "
                f"{sorted(set(values.values()))}; none for {without[:5]}. Leave those people out."
            )
        return values

    def families(self) -> dict[str, str]:
        """Return the group of each subject that a split keeps together: family, else the subject.

        Raises
        ------
        CohortError
            Two columns name families, or a family is named by a sign for a missing value.
        """
        columns = next(iter(self.table.values()), {})
        family = person_columns(Path("participants.tsv"), columns, note=False).get("family", "")
        return {p: given(row, family, label=True) or p for p, row in self.table.items()}


@checked
def write_resting(study: RestingStudy, out: str | Path) -> Path:
    """Write a study atomically: the folder appears complete or not at all.

    Raises
    ------
    CohortError
        Series and table differ in their subjects, rows differ in their columns, a name cannot be
        a file name, or :func:`read_resting` would not read back the same table.
    OutputExistsError
        `out` is not empty.
    """
    _check_table(study)
    with folder_atomic(out) as folder:
        (folder / "series").mkdir()
        for person, values in study.series.items():
            buffer = io.BytesIO()
            np.save(buffer, values)
            write_atomic(folder / "series" / f"{person}.npy", buffer.getvalue())
        columns = list(next(iter(study.table.values())))
        rows = [[person, *(row[c] for c in columns)] for person, row in study.table.items()]
        write_atomic(folder / "participants.tsv", tsv_text([_ID, *columns], rows))
        write_json(folder / "study.json", {"tr": study.tr, "regions": list(study.regions)})
        if read_resting(folder).table != study.table:
            raise CohortError(
                "write_resting: study must hold cells that a table gives back, got some with "
                "blanks around them. Remove those."
            )
    return Path(out)


def _check_table(study: RestingStudy) -> None:
    columns = list(next(iter(study.table.values()), {}))
    for person, row in study.table.items():
        if not isinstance(person, str) or not _FILE.fullmatch(person):
            contract, got = "have people named by letters, digits, '_', '.' and '-'", repr(person)
        elif person not in study.series:
            contract, got = "have a series for every person in its table", f"none for {person}"
        elif list(row) != columns or not all(isinstance(cell, str) for cell in row.values()):
            contract, got = f"have the texts {columns} for every person", f"{row} for {person}"
        else:
            continue
        raise CohortError(f"write_resting: study must {contract}, got {got}. Correct it.")
    if not columns or len(study.series) > len(study.table):
        extra = sorted(set(study.series) - set(study.table), key=str)
        raise CohortError(
            "write_resting: study must have a row with a column or more for every person, got "
            f"{len(study.table)} rows, {len(study.series)} series, without a row {extra[:5]}. "
            "Complete the table."
        )


@checked
def read_resting(folder: str | Path) -> RestingStudy:
    """Read and check a study.

    Raises
    ------
    CohortError
        A file is missing or damaged, a subject occurs twice, or a series does not match the
        regions.
    """
    root = Path(folder)
    facts = read_json(root / "study.json")
    tr, regions = _facts(facts)
    if tr is None or not regions:
        raise CohortError(
            f"read_resting: {root}/study.json must give tr (seconds > 0) and regions (names), got "
            f"{facts!s:.200}."
        )
    columns, rows = read_tsv(root / "participants.tsv")
    if _ID not in columns:
        raise CohortError(
            f"read_resting: {root}/participants.tsv must have the column {_ID}, got "
            f"{', '.join(columns)}. Rename the column that names people."
        )
    person_columns(root / "participants.tsv", columns)
    _check_people(root, rows)
    series = {
        row[_ID]: _read(safe_join(root, "series", f"{row[_ID]}.npy"), len(regions)) for row in rows
    }
    table = {row[_ID]: {c: v for c, v in row.items() if c != _ID} for row in rows}
    return RestingStudy(series, table, tr, regions, root)


def _facts(value: Any) -> tuple[float | None, tuple[str, ...]]:
    """Read repetition time and regions; None and () if they are missing or invalid."""
    if not isinstance(value, dict):
        return None, ()
    tr, regions = value.get("tr"), value.get("regions")
    if tr is None or not number(tr) or not tr > 0:
        tr = None
    if not isinstance(regions, list) or not all(isinstance(name, str) for name in regions):
        regions = []
    return tr, tuple(regions)


def _check_people(root: Path, rows: list[Row]) -> None:
    if not rows:
        raise CohortError(f"read_resting: {root}/participants.tsv must name people, got none.")
    seen: dict[str, Row] = {}
    for row in rows:
        name = given(row, _ID, label=True)
        if not name or name in seen:
            found = f"{name!r} again (line {seen[name].line})" if name else "none"
            raise CohortError(
                f"read_resting: {row.where} must name a person of its own in {_ID}, got {found}."
            )
        seen[name] = row


def _read(path: Path, regions: int) -> npt.NDArray[np.floating]:
    refuse_unfetched(path)
    values = read_npy(path, where="read_resting", error=CohortError)
    if values.ndim != 2 or len(values) != regions or values.dtype.kind != "f":
        raise CohortError(
            f"read_resting: {path} must be ({regions}, T) floats, got {values.shape} "
            f"{values.dtype}."
        )
    if not np.isfinite(values).all():
        raise CohortError(f"read_resting: {path} must be finite, got NaN or infinity.")
    return np.array(values)


@checked
def resting_study(cohort: RestCohort, *, tr: float = 2.0) -> RestingStudy:
    """Convert simulated subjects to a study, with ``age`` and ``age_group`` (old or young)."""
    middle = (YOUNGEST + OLDEST) / 2
    table = {
        p: {"age": f"{a:.1f}", "age_group": "old" if a > middle else "young"}
        for p, a in zip(cohort.series, cohort.age, strict=True)
    }
    count = len(next(iter(cohort.series.values())))
    regions = tuple(f"region-{i:02d}" for i in range(count))
    return RestingStudy(dict(cohort.series), table, tr, regions)
