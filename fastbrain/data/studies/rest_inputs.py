"""Inputs of a resting-state study: options, table of people, and runs.

All of them are checked before the first image is read.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..._arguments import checked
from ..._progress import say
from ...errors import CohortError, InputError, some
from ..features.clean_series import Units
from ..readers.recordings import is_series
from ..readers.runs_table import RunRecord
from ..readers.tables import given, read_tsv
from ..readers.timing import TR_TOLERANCE_S
from ..readers.volumes import load_volumes

_ID = "participant_id"


@checked(error=CohortError)
@dataclass(frozen=True)
class RestOptions:
    """Options of :func:`~fastbrain.data.studies.rest_from_images.rest_from_images`.

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

    def __post_init__(self) -> None:
        for name in ("tr", "high_pass_s", "low_pass_s"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise InputError(f"RestOptions: {name} must be above 0, got {value:g}.")
        if self.low_pass_s is not None and self.low_pass_s >= (self.high_pass_s or math.inf):
            raise InputError(
                f"RestOptions: low_pass_s must be below high_pass_s ({self.high_pass_s}), got "
                f"{self.low_pass_s:g}."
            )


def people_of_table(path: Path, runs: Sequence[RunRecord]) -> dict[str, dict[str, str]]:
    """Return the rows of the people with images, and name the others."""
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


def chosen_runs(runs: Sequence[RunRecord], options: RestOptions) -> list[RunRecord]:
    """Return the runs that are used: all, or the first of each person."""
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
    for run in chosen if options.confounds else ():
        assert run.confounds is not None
        known, _ = read_tsv(run.confounds)
        if absent := [name for name in options.confounds if name not in known]:
            raise CohortError(
                f"rest_from_images: {run.confounds} must have the columns of --confounds, got none "
                f"named {', '.join(absent)}. Leave them out, or complete the table."
            )
    return chosen


def common_tr(runs: Sequence[RunRecord], options: RestOptions) -> float:
    """Check the headers of all images, before the first is read, and return the TR of the study."""
    odd = [run for run in runs if is_series(run.bold)]
    if odd:
        raise CohortError(
            f"rest_from_images: runs must be volumes, as the regions of --atlas are averaged over "
            f"voxels, got {odd[0].bold.name} for {odd[0].run_id}. Take the volumetric images "
            "(--space)."
        )
    times = {run.run_id: load_volumes(run.bold, tr=run.tr).tr for run in runs}
    if options.tr is not None:
        return options.tr
    low, high = min(times, key=lambda r: times[r]), max(times, key=lambda r: times[r])
    if times[high] - times[low] > TR_TOLERANCE_S:
        raise CohortError(
            f"rest_from_images: runs must have one TR, got {times[low]:g} s in {low} and "
            f"{times[high]:g} s in {high}. Give the TR to resample to (--tr)."
        )
    return times[low]
