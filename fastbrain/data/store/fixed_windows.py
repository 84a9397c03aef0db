"""Windows at a fixed step, for runs without events, and headers on the grid of another store."""

from __future__ import annotations

from dataclasses import replace

from ...errors import CohortError
from ..readers.events import Trial
from ..readers.recordings import open_recording
from ..readers.resample import resampling
from ..readers.runs_table import RunRecord
from ..readers.timing import TR_TOLERANCE_S
from ..readers.trial_windows import WindowSpec
from ..readers.volumes import Volumes
from .planning_layout import aligned
from .store import VoxelStore


def header_on_grid(run: RunRecord, like: VoxelStore) -> Volumes:
    """Open a run, and note if its voxels will be resampled to the grid of `like`."""
    volumes = aligned(open_recording(run), like.grid)
    note = resampling(volumes, like.grid.shape, like.affine)
    return volumes if note is None else replace(volumes, notes=(*volumes.notes, note))


def check_tr(run: RunRecord, volumes: Volumes, tr: float, *, function: str) -> None:
    """Raise for a run with another repetition time than that of training."""
    if abs(volumes.tr - tr) > TR_TOLERANCE_S:
        raise CohortError(
            f"{function}: {run.bold} must have the repetition time of training, {tr:g} s, got "
            f"{volumes.tr:g} s. Resample it in time."
        )


def fixed_windows(
    run: RunRecord, spec: WindowSpec, *, tr: float, n_volumes: int, every: int
) -> list[Trial]:
    """Cut a run into windows at a fixed step; they have no stimulus and no text.

    Parameters
    ----------
    run : RunRecord
    spec : WindowSpec
        The onset of a window is that of a stimulus with a response that begins with its first
        volume.
    tr : float
        Seconds between volumes.
    n_volumes : int
    every : int
        Volumes from one window to the next.

    Raises
    ------
    CohortError
        The run is shorter than a window.
    """
    starts = range(0, n_volumes - spec.window_trs + 1, every)
    if not starts:
        raise CohortError(
            f"plan: {run.bold} must have {spec.window_trs} volumes or more, as a window has, got "
            f"{n_volumes}."
        )
    before = spec.delay_s + spec.onset_offset_s - run.start_time
    return [
        Trial(
            trial_id=f"{run.run_id}_volume-{start:04d}",
            run_id=run.run_id,
            subject=run.subject,
            session=run.session,
            run=run.run,
            onset=round(start * tr - before, 6),
            duration=0.0,
            start=start,
            frames=spec.window_trs,
            stimulus="",
            text="",
            instruction=run.instruction,
            prompt=run.prompt,
            guard_trs=spec.guard_trs(tr),
            family=run.family,
            site=run.site,
        )
        for start in starts
    ]
