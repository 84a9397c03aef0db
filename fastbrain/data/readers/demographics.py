"""Properties of people from ``participants.tsv``: sex, age group, handedness, site, diagnosis."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median

from ..._arguments import checked
from ...errors import CohortError, some
from .tables import given, read_tsv

_ID = "participant_id"


@checked
def read_demographics(
    path: str | Path, columns: Sequence[str], subjects: Sequence[str]
) -> dict[str, dict[str, str]]:
    """Read a property of each person as the label of a group.

    Parameters
    ----------
    path : str or Path
        Table with the column ``participant_id``.
    columns : sequence of str
        Columns to read. Where all values are numbers and more than five differ, people are divided
        at the median of `subjects`: ``"up to 34"`` and ``"above 34"``.
    subjects : sequence of str
        Labels of the people, without ``sub-``.

    Returns
    -------
    dict of str to dict of str to str
        Column to subject to label; "" where the table says ``n/a``.

    Raises
    ------
    CohortError
        A column or a person is missing, a person has two rows that differ, or fewer than two
        groups remain.
    """
    names, rows = read_tsv(Path(path))
    missing = [c for c in (_ID, *columns) if c not in names]
    if missing:
        raise CohortError(
            f"read_demographics: {path} must have the columns {', '.join(missing)}, got "
            f"{', '.join(names)}. Choose one of these."
        )
    found: dict[str, dict[str, str]] = {column: {} for column in columns}
    for row in rows:
        subject = given(row, _ID, label=True).removeprefix("sub-")
        for column in columns:
            value = given(row, column)
            if found[column].setdefault(subject, value) != value:
                raise CohortError(
                    f"read_demographics: {path} must have one value of {column} for a person, got "
                    f"two of sub-{subject} (line {row.line}). Remove the wrong row."
                )
    people = sorted(set(subjects))
    for column, values in found.items():
        absent = [f"sub-{s}" for s in people if s not in values]
        if absent:
            raise CohortError(
                f"read_demographics: {path} must have a row for every scored person, got none for "
                f"{some(absent)}."
            )
        found[column] = _grouped({s: values[s] for s in people})
        if len({*found[column].values()} - {""}) < 2:
            raise CohortError(
                f"read_demographics: {column} of {path} must divide the scored people, got "
                f"{sorted(set(found[column].values()))} for all {len(people)}."
            )
    return found


def _grouped(values: dict[str, str]) -> dict[str, str]:
    try:
        numbers = {s: float(v) for s, v in values.items() if v}
    except ValueError:
        return values
    if len(set(numbers.values())) <= 5:
        return values
    middle = median(numbers.values())
    side = {s: f"{'up to' if x <= middle else 'above'} {middle:g}" for s, x in numbers.items()}
    return {s: side.get(s, "") for s in values}
