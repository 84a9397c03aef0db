"""Study of connectomes as a folder: correlations between regions, without their time courses.

::

    participants.tsv     participant_id, and a column for each variable (age, sex, family ...)
    connectomes/ID.npy   (regions, regions) or the lower triangle, float32 or float64
    study.json           {"regions": [names]}
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..._arguments import checked
from ..._arrays import read_npy
from ..._io import read_json, safe_join
from ...errors import CohortError
from ..features.connectomes import fisher_z
from ..readers.unfetched import refuse_unfetched
from .people_table import PeopleTable, read_people, write_study
from .resting_study import RestingStudy, read_resting

FOLDER = "connectomes"


@dataclass(frozen=True)
class ConnectomeStudy(PeopleTable):
    """A study with one connectome per subject.

    Parameters
    ----------
    connectomes : dict of str to ndarray, (R·(R-1)/2,)
        Correlations between regions, lower triangle row by row; by subject, in the order of the
        table.
    table : dict of str to dict of str to str
        Table row of each subject, by column name.
    regions : tuple of str
    path : Path or None
        Folder that the study was read from.
    """

    connectomes: dict[str, npt.NDArray[np.floating]]
    table: dict[str, dict[str, str]]
    regions: tuple[str, ...]
    path: Path | None = field(default=None, compare=False)

    @property
    def people(self) -> list[str]:
        """Subjects, in the order of the table."""
        return list(self.connectomes)

    def features(self) -> dict[str, npt.NDArray[np.float64]]:
        """Fisher z of the correlations (F,), as :func:`connectivity_features` gives of series."""
        return {person: fisher_z(values) for person, values in self.connectomes.items()}


@checked
def write_connectomes(study: ConnectomeStudy, out: str | Path) -> Path:
    """Write a study atomically: the folder appears complete or not at all.

    Raises
    ------
    CohortError
        Connectomes and table differ in their subjects, rows differ in their columns, a name cannot
        be a file name, or :func:`read_connectomes` would not read back the same table.
    OutputExistsError
        `out` is not empty.
    """
    return write_study(
        study,
        out,
        study.connectomes,
        what="connectome",
        folder=FOLDER,
        facts={"regions": list(study.regions)},
        read=read_connectomes,
        function="write_connectomes",
    )


@checked
def read_connectomes(folder: str | Path) -> ConnectomeStudy:
    """Read and check a study.

    Raises
    ------
    CohortError
        A file is missing or damaged, a subject occurs twice, or a connectome does not match the
        regions or is not of correlations.
    """
    root = Path(folder)
    facts = read_json(root / "study.json")
    named = facts.get("regions") if isinstance(facts, dict) else None
    regions = [name for name in named if isinstance(name, str)] if isinstance(named, list) else []
    if len(regions) < 2 or regions != named:
        raise CohortError(
            f"read_connectomes: {root}/study.json must give two regions (names) or more, got "
            f"{facts!s:.200}."
        )
    table = read_people(root, function="read_connectomes")
    connectomes = {p: _read(safe_join(root, FOLDER, f"{p}.npy"), len(regions)) for p in table}
    return ConnectomeStudy(connectomes, table, tuple(regions), root)


def read_rest(folder: str | Path) -> RestingStudy | ConnectomeStudy:
    """Read a study of series, or of connectomes if it has a folder of them."""
    connectomes = (Path(folder) / FOLDER).is_dir()
    return read_connectomes(folder) if connectomes else read_resting(folder)


def _read(path: Path, regions: int) -> npt.NDArray[np.floating]:
    refuse_unfetched(path)
    values = read_npy(path, where="read_connectomes", error=CohortError)
    rows, columns = np.tril_indices(regions, -1)
    if values.dtype.kind != "f" or values.shape not in ((regions, regions), rows.shape):
        raise CohortError(
            f"read_connectomes: {path} must be ({regions}, {regions}) or ({len(rows)},) floats, "
            f"got {values.shape} {values.dtype}."
        )
    if not (np.abs(values) <= 1 + 1e-6).all():  # negated comparison: NaN fails the check
        raise CohortError(f"read_connectomes: {path} must be correlations in [-1, 1].")
    if values.ndim == 2:
        if not np.allclose(values, values.T, atol=1e-6):
            raise CohortError(f"read_connectomes: {path} must be symmetric.")
        values = values[rows, columns]
    return np.array(values)
