"""The voxel grid of a cohort: shared by its runs, or one that they are resampled to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...errors import CohortError, InputError
from ...grid import Triple
from ..readers.masks import same_affine
from ..readers.runs_table import RunRecord
from ..readers.timing import TR_TOLERANCE_S
from ..readers.volumes import Volumes
from .image_space import space_of
from .planning_layout import open_headers
from .target_grid import TargetGrid, target_grid


def open_runs(
    runs: Sequence[RunRecord], resample: str | Path | TargetGrid | None
) -> tuple[tuple[Volumes, ...], TargetGrid]:
    """Open the headers of a cohort and find its grid.

    Parameters
    ----------
    runs : sequence of RunRecord
    resample : str, Path, TargetGrid or None
        Grid that runs are resampled to; None: they must share one.

    Raises
    ------
    CohortError
        The runs differ in repetition time, or in grid without `resample`.
    """
    return on_one_grid(runs, open_headers(runs), resample)


def on_one_grid(
    runs: Sequence[RunRecord],
    headers: tuple[Volumes, ...],
    resample: str | Path | TargetGrid | None,
) -> tuple[tuple[Volumes, ...], TargetGrid]:
    """Check spaces and headers of a cohort and find its grid; see :func:`open_runs`."""
    space_of(runs)
    check_same_grid(runs, headers, resampled=resample is not None)
    target = (
        resample
        if isinstance(resample, TargetGrid)
        else target_grid("first" if resample is None else resample, headers)
    )
    return headers if resample is None else target.headers(headers), target


def check_same_grid(
    runs: Sequence[RunRecord], headers: tuple[Volumes, ...], *, resampled: bool = False
) -> None:
    """Raise unless all runs share the repetition time, and shape and affine if not `resampled`."""
    first, space = headers[0], headers[0].shape[1:]
    for run, v in zip(runs, headers, strict=True):
        if v.shape[1:] != space and not resampled:
            what = f"the shape (Z, Y, X) {space}, got {v.shape[1:]}"
        elif not resampled and not same_affine(v.affine, first.affine, space):
            what = "the affine within 0.1 mm over the volume, got another one"
        elif abs(v.tr - first.tr) > TR_TOLERANCE_S:
            raise CohortError(
                f"plan_store: {run.run_id} ({run.bold}) must share with {runs[0].run_id} the "
                f"repetition time {first.tr:g} s, got {v.tr:g} s. Prepare them apart."
            )
        elif run.n_volumes not in (None, v.shape[0]):
            raise CohortError(
                f"plan_store: {run.bold} must have {run.n_volumes} volumes, as VolumeTiming of its "
                f"sidecar or its runs table says, got {v.shape[0]}. Correct that."
            )
        else:
            continue
        raise CohortError(
            f"plan_store: {run.run_id} ({run.bold}) must share with {runs[0].run_id} {what}. "
            "Where both are in one space, resample them (--resample first, or mni:2); else bring "
            "all runs into one (fMRIPrep --output-spaces), or keep the grid of each person "
            "(--native-grids)."
        )


def check_kernel(kernel: Triple, space: tuple[int, int, int]) -> None:
    """Raise for a patch that does not fit into the volumes."""
    if any(k > size for k, size in zip(kernel, space, strict=True)):
        raise InputError(
            f"plan_store: kernel must fit into the volumes, (Z, Y, X) {space}, got {kernel}. Give "
            "a smaller patch."
        )
