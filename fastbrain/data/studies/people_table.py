"""Table of the people of a study: its reader, and their variables."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..._arrays import npy_bytes
from ..._io import folder_atomic, write_atomic, write_json
from ...errors import CohortError
from ..readers.participants import person_columns
from ..readers.tables import Row, given, number_of, read_tsv, tsv_text

ID = "participant_id"
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_A_NUMBER = "{} must be a number for every person"


class PeopleTable:
    """Base of studies with a row of variables for each person.

    Attributes
    ----------
    table : dict of str to dict of str to str
        Table row of each subject, by column name.
    """

    table: dict[str, dict[str, str]]

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
                raise CohortError(
                    f"{type(self).__name__}: {_A_NUMBER.format(column)}: {error}"
                ) from error
            if value is None:
                raise CohortError(
                    f"{type(self).__name__}: {_A_NUMBER.format(column)}, got {text!r} for "
                    f"{person}. Columns: {', '.join(row)}. Leave that person out of the table."
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
                f"{type(self).__name__}: {column} must be two labels or more, and one for every "
                f"person, got {sorted(set(values.values()))}; none for {without[:5]}. Leave those "
                "people out."
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


def read_people(root: Path, *, function: str) -> dict[str, dict[str, str]]:
    """Read the rows of ``participants.tsv`` by subject, without the column of their names.

    Raises
    ------
    CohortError
        The file is missing, names no subject, or names a subject twice.
    """
    columns, rows = read_tsv(root / "participants.tsv")
    if ID not in columns:
        raise CohortError(
            f"{function}: {root}/participants.tsv must have the column {ID}, got "
            f"{', '.join(columns)}. Rename the column that names people."
        )
    person_columns(root / "participants.tsv", columns)
    _check_people(root, rows, function)
    return {row[ID]: {c: v for c, v in row.items() if c != ID} for row in rows}


def _check_people(root: Path, rows: list[Row], function: str) -> None:
    if not rows:
        raise CohortError(f"{function}: {root}/participants.tsv must name people, got none.")
    seen: dict[str, Row] = {}
    for row in rows:
        name = given(row, ID, label=True)
        if not name or name in seen:
            found = f"{name!r} again (line {seen[name].line})" if name else "none"
            raise CohortError(
                f"{function}: {row.where} must name a person of its own in {ID}, got {found}."
            )
        seen[name] = row


def _check_table(
    table: Mapping[str, Mapping[str, str]],
    held: Mapping[str, object],
    *,
    what: str,
    function: str,
) -> None:
    """Raise unless every person has a row of texts, a valid file name and what is `held`."""
    columns = list(next(iter(table.values()), {}))
    for person, row in table.items():
        if not isinstance(person, str) or not _FILE.fullmatch(person):
            contract, got = "have people named by letters, digits, '_', '.' and '-'", repr(person)
        elif person not in held:
            contract, got = f"have a {what} for every person in its table", f"none for {person}"
        elif list(row) != columns or not all(isinstance(cell, str) for cell in row.values()):
            contract, got = f"have the texts {columns} for every person", f"{row} for {person}"
        else:
            continue
        raise CohortError(f"{function}: study must {contract}, got {got}. Correct it.")
    if not columns or len(held) > len(table):
        extra = sorted(set(held) - set(table), key=str)
        raise CohortError(
            f"{function}: study must have a row with a column or more for every person, got "
            f"{len(table)} rows, without a row {extra[:5]}. "
            "Complete the table."
        )


def write_study(
    study: PeopleTable,
    out: str | Path,
    arrays: Mapping[str, npt.NDArray[np.floating]],
    *,
    what: str,
    folder: str,
    facts: Mapping[str, Any],
    read: Callable[[Path], PeopleTable],
    function: str,
) -> Path:
    """Write a study atomically, with one array for each person.

    Parameters
    ----------
    study : PeopleTable
    out : str or Path
    arrays : mapping of str to ndarray
        By subject.
    what : str
        Name of one of the arrays, for messages.
    folder : str
        Folder of the arrays.
    facts : mapping
        Content of ``study.json``.
    read : callable
        Reads the study, to compare the table.
    function : str
        Name of the calling function, for messages.

    Raises
    ------
    CohortError
        Arrays and table differ in their subjects, a name cannot be a file name, or `read` gives
        another table.
    OutputExistsError
        `out` is not empty.
    """
    _check_table(study.table, arrays, what=what, function=function)
    with folder_atomic(out, function=function) as root:
        (root / folder).mkdir()
        for person, values in arrays.items():
            write_atomic(root / folder / f"{person}.npy", npy_bytes(values))
        write_atomic(root / "participants.tsv", _table_text(study.table))
        write_json(root / "study.json", dict(facts))
        if read(root).table != study.table:
            raise CohortError(
                f"{function}: study must hold cells that a table gives back, got some with blanks "
                "around them. Remove those."
            )
    return Path(out)


def _table_text(table: Mapping[str, Mapping[str, str]]) -> str:
    """Text of ``participants.tsv``."""
    columns = list(next(iter(table.values())))
    rows = [[person, *(row[c] for c in columns)] for person, row in table.items()]
    return tsv_text([ID, *columns], rows)
