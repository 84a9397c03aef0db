"""Resting-state study as a folder: region time courses and variables of each subject.

::

    participants.tsv     participant_id, and a column for each variable (age, sex, family ...)
    series/ID.npy        (regions, T) float32 or float64
    study.json           {"tr": seconds, "regions": [names]}
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..._arguments import checked
from ..._arrays import read_npy
from ..._io import read_json, safe_join
from ..._rules import number
from ...errors import CohortError
from ..readers.unfetched import refuse_unfetched
from ..simulate.resting_cohort import OLDEST, YOUNGEST, RestCohort
from .people_table import PeopleTable, read_people, write_study


@dataclass(frozen=True)
class RestingStudy(PeopleTable):
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

    @property
    def people(self) -> list[str]:
        """Subjects, in the order of the table."""
        return list(self.series)


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
    return write_study(
        study,
        out,
        study.series,
        what="series",
        folder="series",
        facts={"tr": study.tr, "regions": list(study.regions)},
        read=read_resting,
        function="write_resting",
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
    table = read_people(root, function="read_resting")
    series = {p: _read(safe_join(root, "series", f"{p}.npy"), len(regions)) for p in table}
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
