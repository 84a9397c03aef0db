"""People with a series of regions and what is known of them, as a folder.

::

    participants.tsv     participant_id, and a column for each variable (age, sex, family ...)
    series/ID.npy        (regions, T) float32 or float64
    study.json           {"tr": seconds, "regions": [names]}
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from .._arguments import checked
from .._io import folder_atomic, read_json, write_atomic, write_json
from ..errors import CohortError
from .rest import OLDEST, YOUNGEST, RestCohort

_ID = "participant_id"


@dataclass(frozen=True)
class RestingStudy:
    """One recording a person.

    Parameters
    ----------
    series : dict of str to ndarray, (R, T)
        By person, in the order of the table.
    table : dict of str to dict of str to str
        Columns by person.
    tr : float
        Repetition time, seconds.
    regions : tuple of str
    """

    series: dict[str, npt.NDArray[np.floating]]
    table: dict[str, dict[str, str]]
    tr: float
    regions: tuple[str, ...]

    def numbers(self, column: str) -> dict[str, float]:
        """A numeric variable by person.

        Raises
        ------
        CohortError
            There is no such column, or a value is missing or no number.
        """
        values = {}
        for person, row in self.table.items():
            text = row.get(column) or ""
            try:
                values[person] = float(text)
            except ValueError:  # n/a, as BIDS has it, too
                values[person] = np.nan
            if not np.isfinite(values[person]):
                raise CohortError(
                    f"RestingStudy: {column} must be a number for everybody, got {text!r} for "
                    f"{person}. Columns: {', '.join(row)}. Leave that person out of the table."
                )
        return values

    def labels(self, column: str) -> dict[str, str]:
        """A label by person: a sex, a diagnosis.

        Raises
        ------
        CohortError
            There is no such column, a value is missing, or all are the same.
        """
        values = {person: row.get(column) or "" for person, row in self.table.items()}
        without = [person for person, label in values.items() if label in ("", "n/a")]
        if without or len(set(values.values())) < 2:
            raise CohortError(
                f"RestingStudy: {column} must be two labels or more, and one for everybody, got "
                f"{sorted(set(values.values()))}; none for {without[:5]}. Leave those people out."
            )
        return values

    def families(self) -> dict[str, str]:
        """Who must not be parted: the column ``family`` where there is one, else the person."""
        return {person: row.get("family") or person for person, row in self.table.items()}


@checked
def write_resting(study: RestingStudy, out: str | Path) -> Path:
    """Write a study; the folder is there whole or not at all.

    Raises
    ------
    OutputExistsError
        `out` holds something.
    """
    with folder_atomic(out) as folder:
        (folder / "series").mkdir()
        for person, values in study.series.items():
            buffer = io.BytesIO()
            np.save(buffer, values)
            write_atomic(folder / "series" / f"{person}.npy", buffer.getvalue())
        lines = io.StringIO()
        columns = list(next(iter(study.table.values())))
        rows = csv.writer(lines, delimiter="\t", lineterminator="\n")
        rows.writerow([_ID, *columns])
        rows.writerows([p, *(row[c] for c in columns)] for p, row in study.table.items())
        write_atomic(folder / "participants.tsv", lines.getvalue().encode())
        write_json(folder / "study.json", {"tr": study.tr, "regions": list(study.regions)})
    return Path(out)


@checked
def read_resting(folder: str | Path) -> RestingStudy:
    """Read and check a study.

    Raises
    ------
    CohortError
        A file is missing or damaged, a person occurs twice, or series do not fit each other.
    """
    root = Path(folder)
    facts = read_json(root / "study.json")
    if not isinstance(facts, dict) or not facts.get("regions") or not facts.get("tr", 0) > 0:
        raise CohortError(f"read_resting: {root}/study.json must give tr and regions, got {facts}.")
    try:
        with open(root / "participants.tsv", newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
    except OSError as error:
        raise CohortError(f"read_resting: {root} must hold participants.tsv: {error}.") from error
    names = [row.get(_ID) or "" for row in rows]
    if not names or "" in names or len(set(names)) < len(names):
        raise CohortError(
            f"read_resting: {root}/participants.tsv must name each person once in {_ID}, got "
            f"{len(names)} rows and {len(set(names) - {''})} names."
        )
    series = {name: _read(root / "series" / f"{name}.npy", len(facts["regions"])) for name in names}
    table = {row[_ID]: {c: v for c, v in row.items() if c != _ID} for row in rows}
    return RestingStudy(series, table, float(facts["tr"]), tuple(facts["regions"]))


def _read(path: Path, regions: int) -> npt.NDArray[np.floating]:
    try:
        values = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise CohortError(f"read_resting: {path} must be an array of numpy: {error}.") from error
    if values.ndim != 2 or len(values) != regions or values.dtype.kind != "f":
        raise CohortError(
            f"read_resting: {path} must be ({regions}, T) floats, got {values.shape} "
            f"{values.dtype}."
        )
    if not np.isfinite(values).all():
        raise CohortError(f"read_resting: {path} must be finite, got NaN or infinity.")
    return values


@checked
def resting_study(cohort: RestCohort, *, tr: float = 2.0) -> RestingStudy:
    """Simulated people as a study: ``age`` to a tenth of a year, ``age_group`` old or young."""
    middle = (YOUNGEST + OLDEST) / 2
    table = {
        p: {"age": f"{a:.1f}", "age_group": "old" if a > middle else "young"}
        for p, a in zip(cohort.series, cohort.age, strict=True)
    }
    count = len(next(iter(cohort.series.values())))
    regions = tuple(f"region-{i:02d}" for i in range(count))
    return RestingStudy(dict(cohort.series), table, tr, regions)
