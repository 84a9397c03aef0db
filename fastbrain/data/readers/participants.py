"""Read family and site of subjects from ``participants.tsv``, to keep relatives in one part.

A table with such columns that cannot be matched to the subjects is an error.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..._progress import say
from ...errors import CohortError, some
from .inside import inside
from .tables import Row, given, read_tsv

# field of a run -> names of its column, in lower case and without underscores
_OF_A_PERSON = {"family": ("family", "familyid"), "site": ("site", "siteid")}
_NEAR = {
    "family": ("fam", "pair", "twin", "household", "mother", "father", "sibling"),
    "site": ("site", "center", "centre", "scanner"),
}
_ID = "participant_id"


def read_participants(
    root: Path, subjects: Iterable[str], *, allow_outside: bool = False
) -> dict[str, dict[str, Any]]:
    """Read family and site by subject label from ``participants.tsv``, if the file exists.

    Parameters
    ----------
    root : Path
        BIDS folder.
    subjects : iterable of str
        Labels of the subjects with runs, without ``sub-``.
    allow_outside : bool
        Whether the table may be a link to a file outside `root`.

    Returns
    -------
    dict of str to dict of str to str
        Arguments of a :class:`RunRecord`. Subjects without a row are absent; a printed note names
        them.

    Raises
    ------
    CohortError
        The table was not fetched or is damaged; or it has families or sites, but no column
        ``participant_id``, no row of these subjects, labels with other leading zeros, or two rows
        of a subject that differ.
    """
    path = root / "participants.tsv"
    if not path.exists() and not path.is_symlink():
        return {}
    if not allow_outside:
        inside(root, path.name, what=f"participants: {path}")
    columns, rows = read_tsv(path)
    column_of = person_columns(path, columns)
    if _ID not in columns:
        if not column_of:
            say(f"note: {path} has no column {_ID} and is not used")
            return {}
        raise CohortError(
            f"participants: {path} must name people in the column {_ID}, got {', '.join(columns)}. "
            f"Rename that column: without it {' and '.join(column_of)} would be lost."
        )
    if not column_of:
        return {}
    people: dict[str, dict[str, Any]] = {}
    for row in rows:
        subject = given(row, _ID, label=True).removeprefix("sub-")
        facts = {field: given(row, column, label=True) for field, column in column_of.items()}
        if people.setdefault(subject, facts) != facts:
            raise CohortError(
                f"participants: {path} must have one row a person, got two that differ in family "
                f"or site of sub-{subject} (line {row.line}). Remove the wrong one."
            )
    _check_match(path, people, sorted(set(subjects)), rows)
    return people


def person_columns(path: Path, columns: Iterable[str], *, note: bool = True) -> dict[str, str]:
    """Find the columns of family and site, by field.

    Parameters
    ----------
    path : Path
        Path of the table, for messages.
    columns : iterable of str
    note : bool
        Whether to print a note on columns with a similar name that are not read.

    Raises
    ------
    CohortError
        Two columns match the same field.
    """
    columns = list(columns)
    found: dict[str, str] = {}
    for field, names in _OF_A_PERSON.items():
        fitting = [c for c in columns if c.lower().replace("_", "") in names]
        if len(fitting) > 1:
            raise CohortError(
                f"participants: {path} must have one column of {field}, got {', '.join(fitting)}. "
                "Remove or rename the others."
            )
        if fitting:
            found[field] = fitting[0]
        near = [c for c in columns if any(part in c.lower() for part in _NEAR[field])]
        if note and near and not fitting:
            say(
                f"note: {path} has the column {', '.join(near)}, which is not read: call it "
                f"{field} if that is what it holds"
            )
    return found


def _check_match(
    path: Path, people: dict[str, dict[str, Any]], subjects: list[str], rows: list[Row]
) -> None:
    without = [s for s in subjects if s not in people]
    if not without:
        return
    plain = {label.lstrip("0"): label for label in people}
    padded = [s for s in without if s.lstrip("0") in plain]
    if len(without) == len(subjects) or padded:
        wanted = padded or without
        raise CohortError(
            f"participants: {path} must have the rows {some([f'sub-{s}' for s in wanted])}, got "
            f"{some([row[_ID] for row in rows])}. Labels must be those of the folders, zeros "
            "included: family and site would be lost."
        )
    say(
        f"note: {path} has no row for {some([f'sub-{s}' for s in without])}: family and site of "
        "these people are not known"
    )
