"""Headers and token grid of a cohort: volumes, surfaces or parcels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..._progress import track
from ...errors import CohortError, InputError
from ...grid import TokenGrid
from ...layout import TokenLayout
from ..readers.recordings import is_series, open_recording
from ..readers.runs_table import RunRecord
from ..readers.series import Series
from ..readers.volumes import Volumes
from .token_layouts import LayoutSpec, build_layout


def open_headers(runs: Sequence[RunRecord]) -> tuple[Volumes, ...]:
    """Open the runs of a cohort; surfaces and parcels must be the same in all.

    Parcels are brought into the order of the first run, by name.

    Raises
    ------
    CohortError
        Some runs are volumes and others not, or their vertices, voxels or parcels differ.
    """
    headers = [
        open_recording(run)
        for run in (track(runs, "reading headers") if any(map(_slow, runs)) else runs)
    ]
    first = headers[0]
    if not any(isinstance(each, Series) for each in headers):
        return tuple(headers)
    found: list[Volumes] = []
    for run, each in zip(runs, headers, strict=True):
        if not (isinstance(first, Series) and isinstance(each, Series)):
            raise _mixed(run, runs[0])
        names = first.locations.parcels
        each = each.take(names) if names and each.locations.parcels else each
        if each.locations.digest != first.locations.digest or len(each.locations) != len(
            first.locations
        ):
            raise CohortError(
                f"plan_store: {run.run_id} ({run.bold}) must have the locations of "
                f"{runs[0].run_id}, {first.locations.describe()}, got others: "
                f"{each.locations.describe()}. Bring all runs to one surface and density (fMRIPrep "
                "--cifti-output 91k), or prepare them apart."
            )
        found.append(each)
    return tuple(found)


def _slow(run: RunRecord) -> bool:
    return is_series(run.bold)


def _mixed(run: RunRecord, first: RunRecord) -> CohortError:
    return CohortError(
        f"plan_store: {run.run_id} ({run.bold.name}) must be a recording of the kind of "
        f"{first.run_id} ({first.bold.name}), got volumes beside surfaces or parcels. Prepare them "
        "apart."
    )


def aligned(volumes: Volumes, grid: TokenGrid) -> Volumes:
    """Return a run in the order of the locations of a grid.

    Raises
    ------
    CohortError
        The run is of another kind, or has other vertices, voxels or parcels.
    """
    if not isinstance(grid, TokenLayout):
        if isinstance(volumes, Series):
            raise CohortError(
                f"prepare: {volumes.path} must be volumes, as the store has, got "
                f"{volumes.locations.describe()}. Take the volumetric image."
            )
        return volumes
    if not isinstance(volumes, Series) or bool(volumes.locations.parcels) != (
        grid.geometry == "parcels"
    ):
        what = volumes.locations.describe() if isinstance(volumes, Series) else "volumes"
        hint = " Name the atlas (--parcels)." if grid.geometry == "parcels" else ""
        raise CohortError(
            f"prepare: {volumes.path} must be {grid.location_words}, as the store has, got {what}."
            f"{hint}"
        )
    if grid.geometry == "parcels":
        volumes = volumes.take(grid.names)
    if volumes.locations.digest != grid.space:
        raise CohortError(
            f"prepare: {volumes.path} must have the {grid.location_words} of the store, got "
            f"others: {volumes.locations.describe()}. Take runs of one surface and density, or "
            "one atlas."
        )
    return volumes


def layout_for(
    runs: Sequence[RunRecord],
    headers: Sequence[Volumes],
    spec: LayoutSpec | None,
    *,
    mask: str | Path | npt.NDArray[Any] | None,
    smoothing_mm: float | None,
    resample: object,
) -> TokenLayout | None:
    """Build the token layout of a cohort of surfaces or parcels; None for volumes.

    Parameters
    ----------
    runs : sequence of RunRecord
    headers : sequence of Volumes
    spec : LayoutSpec or None
        Default: neighbourhoods on the surfaces.
    mask, smoothing_mm, resample
        Must be None: they are for volumes.

    Raises
    ------
    InputError
        An argument for volumes is given with surfaces, or one for surfaces with volumes.
    CohortError, VolumeError
        As for :func:`build_layout`.
    """
    first = headers[0]
    if not isinstance(first, Series):
        if spec is not None:
            raise InputError(
                "plan_store: layout must be None for volumes, got the layout of surfaces. Choose "
                "the patches of volumes by kernel and stride (--kernel)."
            )
        return None
    for name, value in (("mask", mask), ("smoothing_mm", smoothing_mm), ("resample", resample)):
        if value is not None:
            raise InputError(
                f"plan_store: {name} must be None for surfaces and parcels, got {value}. Smooth "
                "and resample surfaces before (wb_command -cifti-smoothing, -cifti-resample)."
            )
    # volumes that are averaged in parcels may have one
    masked = [run.run_id for run in runs if run.mask is not None and is_series(run.bold)]
    if masked:
        raise InputError(
            f"plan_store: runs of surfaces and parcels must have no mask, got one for {masked[0]}. "
            "Leave the column mask out."
        )
    if spec is not None and first.locations.parcels:
        raise InputError(
            "plan_store: layout must be None for parcels, each of which is a token, got one."
        )
    known = [each.valid for each in headers if isinstance(each, Series) and each.valid is not None]
    valid = np.logical_and.reduce(known) if known else None
    return build_layout(first.locations, spec or LayoutSpec(), valid=valid)


def left_out(headers: Sequence[Volumes], grid: TokenGrid) -> str:
    """Describe the locations with a signal in all runs that are in no token; "" if there is none.

    Parameters
    ----------
    headers : sequence of Volumes
    grid : TokenGrid
    """
    first = headers[0]
    if not isinstance(grid, TokenLayout) or not isinstance(first, Series):
        return ""
    known = [each.valid for each in headers if isinstance(each, Series) and each.valid is not None]
    alive = np.logical_and.reduce([np.ones(grid.mask.size, dtype=bool), *known])
    covered = grid.mask.reshape(-1)
    counts, start = {}, 0
    for structure in first.locations.structures:
        part = slice(start, start + len(structure))
        counts[structure.name] = int((alive[part] & ~covered[part]).sum())
        start += len(structure)
    total = sum(counts.values())
    if not total:
        return ""
    why = "place on the flat maps" if grid.positions == "flat" else "label"
    where = ", ".join(f"{count} of {name}" for name, count in counts.items() if count)
    return f"{total} {grid.location_words} have no {why} and are in no token: {where}"
