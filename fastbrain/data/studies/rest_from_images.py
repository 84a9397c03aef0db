"""Resting-state study from images and an atlas: one series of regions for each person.

Runs are read one after the other, and the series of each finished run is kept beside the study, so
that an interrupted extraction goes on where it was.
"""

from __future__ import annotations

import io
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ..._arguments import checked
from ..._arrays import read_npy
from ..._io import new_output, read_json, sha256, write_atomic, write_json
from ..._progress import say, track
from ...errors import CheckpointError, CohortError, OutputExistsError, some
from ..features.clean_series import Units, clean_series, read_confounds
from ..features.parcels import Parcellation, parcel_series, read_parcellation
from ..features.series import resample_series
from ..readers.runs_table import RunRecord
from ..readers.tables import given, number_of, read_tsv
from ..readers.volumes import load_volumes
from .resting_study import RestingStudy, write_resting

_ID = "participant_id"
_SAME_TR = 1e-3  # seconds


@checked(error=CohortError)
@dataclass(frozen=True)
class RestOptions:
    """Options of :func:`rest_from_images`.

    Parameters
    ----------
    tr : float or None
        Repetition time to resample all runs to, seconds; None: all runs must have the same.
    high_pass_s, low_pass_s : float or None
        Periods that are removed, seconds; see :func:`clean_series`.
    confounds : tuple of str
        Columns of the confounds tables that are regressed out.
    units : {"psc", "zscore"}
        Units of a run.
    several : {"join", "first"}
        Several runs of a person: joined in their order, or the first one only.
    """

    tr: float | None = None
    high_pass_s: float | None = 128.0
    low_pass_s: float | None = None
    confounds: tuple[str, ...] = ()
    units: Units = "psc"
    several: Literal["join", "first"] = "join"


@checked
def rest_from_images(
    runs: Sequence[RunRecord],
    atlas: str | Path,
    participants: str | Path,
    out: str | Path,
    *,
    options: RestOptions,
    labels: str | Path | None = None,
    resume: bool = False,
) -> Path:
    """Extract the series of atlas regions of every run and write a study of all people.

    Parameters
    ----------
    runs : sequence of RunRecord
        All on the grid of the atlas. One run at a time is in memory.
    atlas : str or Path
        Label image; 0 means no region.
    participants : str or Path
        Table with ``participant_id`` and the variables of each person.
    out : str or Path
        New folder, for :func:`read_resting`. Finished runs are kept in a folder of the same name
        with ``.partial`` until the study is complete.
    options : RestOptions
    labels : str or Path, optional
        Table (TSV) with ``index`` and ``name`` of the regions to use; default: every label.
    resume : bool
        Go on with the finished runs of ``.partial``.

    Returns
    -------
    Path

    Raises
    ------
    CohortError
        A person with images has no row in the table, a table is damaged, a run has no confounds,
        or runs differ in their TR and none is given.
    VolumeError
        An image cannot be read, is on another grid, or a region has no signal.
    CheckpointError
        The finished runs were made with other settings.
    OutputExistsError
        `out` exists, or ``.partial`` does and `resume` is false.
    """
    out = Path(out)
    if out.exists():
        raise OutputExistsError(f"rest_from_images: {out} must not exist. Choose another name.")
    table = _people(Path(participants), runs)
    chosen = _chosen(runs, options)
    tr = _common_tr(chosen, options)
    names = None if labels is None else _names(Path(labels))
    partial = new_output(out.with_name(out.name + ".partial"), resume=resume)
    settings = {
        "options": {**asdict(options), "confounds": list(options.confounds)},
        "tr": tr,
        "atlas": sha256(atlas),
        "labels": None if names is None else {str(k): v for k, v in names.items()},
    }
    _claim(partial, settings)
    parcellations: dict[Any, Parcellation] = {}
    for run in track(chosen, "runs"):
        if not (partial / f"{run.run_id}.json").exists():
            _extract(run, atlas, names, parcellations, tr, options, partial)
    regions = read_json(partial / f"{chosen[0].run_id}.json")["regions"]
    series: dict[str, npt.NDArray[np.floating]] = {}
    record: dict[str, Any] = {}
    for person in table:
        own = [run.run_id for run in chosen if f"sub-{run.subject}" == person]
        series[person] = _Joined([partial / f"{name}.npy" for name in own])  # type: ignore[assignment]
        record[person] = {name: read_json(partial / f"{name}.json")["frames"] for name in own}
    write_resting(RestingStudy(series, table, tr, tuple(regions)), out)
    write_json(out / "runs.json", {**settings, "frames": record})
    shutil.rmtree(partial)
    return out


class _Joined:
    """Runs of a person that are read when numpy asks for the array, one person at a time."""

    def __init__(self, files: list[Path]) -> None:
        self.files = files

    def __array__(self, dtype: Any = None, copy: Any = None) -> npt.NDArray[Any]:
        parts = [read_npy(file, where="rest_from_images", error=CohortError) for file in self.files]
        return np.concatenate(parts, axis=1)


def _extract(
    run: RunRecord,
    atlas: str | Path,
    names: Mapping[int, str] | None,
    parcellations: dict[Any, Parcellation],
    tr: float,
    options: RestOptions,
    partial: Path,
) -> None:
    """Write series and facts of one run; the facts last, because they mark it as finished."""
    volumes = load_volumes(run.bold, tr=run.tr)
    if run.n_volumes is not None and run.n_volumes != volumes.shape[0]:
        raise CohortError(
            f"rest_from_images: {run.bold} must have the {run.n_volumes} volumes of its table or "
            f"sidecar, got {volumes.shape[0]}. Fetch the image again, or correct the number."
        )
    grid = (volumes.shape[1:], volumes.affine.tobytes())
    if grid not in parcellations:
        parcellations[grid] = read_parcellation(atlas, volumes, names=names)
    parcellation = parcellations[grid]
    confounds = None
    if options.confounds:
        assert run.confounds is not None  # _chosen
        confounds = read_confounds(run.confounds, options.confounds, volumes=volumes.shape[0])
    values = clean_series(
        parcel_series(volumes, parcellation),
        tr=volumes.tr,
        high_pass_s=options.high_pass_s,
        low_pass_s=options.low_pass_s,
        confounds=confounds,
        units=options.units,
    )
    if abs(volumes.tr - tr) > _SAME_TR:
        values = resample_series(values, tr=volumes.tr, new_tr=tr)
    buffer = io.BytesIO()
    np.save(buffer, values.astype(np.float32))
    write_atomic(partial / f"{run.run_id}.npy", buffer.getvalue())
    facts = {"frames": values.shape[1], "regions": list(parcellation.names)}
    write_json(partial / f"{run.run_id}.json", facts)


def _people(path: Path, runs: Sequence[RunRecord]) -> dict[str, dict[str, str]]:
    """Rows of the people with images; the others are named."""
    columns, rows = read_tsv(path)
    if _ID not in columns or len(columns) < 2:
        raise CohortError(
            f"rest_from_images: {path} must have the column {_ID} and one of a variable, got "
            f"{', '.join(columns)}."
        )
    table: dict[str, dict[str, str]] = {}
    for row in rows:
        name = "sub-" + given(row, _ID, label=True).removeprefix("sub-")
        if name in table:
            raise CohortError(
                f"rest_from_images: {row.where} must name a person of its own, got {name} again. "
                "Remove the wrong row."
            )
        table[name] = {column: row[column] for column in columns if column != _ID}
    pictured = {f"sub-{run.subject}" for run in runs}
    unknown, absent = sorted(pictured - set(table)), [p for p in table if p not in pictured]
    if unknown or not pictured:
        raise CohortError(
            f"rest_from_images: {path} must have a row for every person with images, got none for "
            f"{some(unknown)}. Complete the table, or leave these runs out."
        )
    if absent:
        say(f"note: {len(absent)} people of {path} have no image, left out: {', '.join(absent)}")
    return {person: row for person, row in table.items() if person in pictured}


def _chosen(runs: Sequence[RunRecord], options: RestOptions) -> list[RunRecord]:
    """Runs that are used: all, or the first of each person."""
    chosen = list(runs)
    if options.several == "first":
        firsts: dict[str, RunRecord] = {}
        for run in runs:
            firsts.setdefault(run.subject, run)
        chosen = list(firsts.values())
    without = [run.run_id for run in chosen if run.confounds is None]
    if options.confounds and without:
        raise CohortError(
            f"rest_from_images: every run must have a confounds table, got none for "
            f"{some(without)}. Fetch them, or regress no confounds out."
        )
    return chosen


def _common_tr(runs: Sequence[RunRecord], options: RestOptions) -> float:
    """Check the headers of all images, before the first is read, and return the TR of the study."""
    times = {run.run_id: load_volumes(run.bold, tr=run.tr).tr for run in runs}
    if options.tr is not None:
        return options.tr
    low, high = min(times, key=lambda r: times[r]), max(times, key=lambda r: times[r])
    if times[high] - times[low] > _SAME_TR:
        raise CohortError(
            f"rest_from_images: runs must have one TR, got {times[low]:g} s in {low} and "
            f"{times[high]:g} s in {high}. Give the TR to resample to (--tr)."
        )
    return times[low]


def _names(path: Path) -> dict[int, str]:
    columns, rows = read_tsv(path)
    found: dict[int, str] = {}
    for row in rows if {"index", "name"} <= set(columns) else ():
        index = number_of(row["index"], where=f"{row.where} index")
        if index is None or index != int(index) or int(index) in found or not given(row, "name"):
            raise CohortError(
                f"rest_from_images: {row.where} must have a label of its own and a name, got "
                f"{row['index']!r} and {row['name']!r}."
            )
        found[int(index)] = given(row, "name")
    if not found:
        raise CohortError(
            f"rest_from_images: {path} must have the columns index and name and a region, got "
            f"{', '.join(columns)}."
        )
    return found


def _claim(partial: Path, settings: dict[str, Any]) -> None:
    """Write the settings, or compare them with those of the finished runs."""
    path = partial / "settings.json"
    if path.exists() and read_json(path) != settings:
        raise CheckpointError(
            f"rest_from_images: {partial} must be of the same atlas and options, got others. "
            "Repeat the command as it was, or remove the folder."
        )
    write_json(path, settings)
