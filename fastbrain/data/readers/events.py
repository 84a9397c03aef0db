"""Trials: read events and assign a window of volumes to each stimulus.

The window of a trial starts with the volume that begins nearest to onset + onset_offset + delay (of
two equally near ones the later), so that it covers the hemodynamic response, and is `window_trs`
volumes long.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from ..._arguments import checked
from ...errors import CohortError, InputError
from .runs_table import RunRecord, inside
from .tables import Row, given, read_tsv, seconds_of
from .timing import nearest_volume, volumes_to_cover


@checked
@dataclass(frozen=True)
class WindowSpec:
    """Position and length of the windows of trials in their run.

    Parameters
    ----------
    delay_s : float
        Seconds from stimulus onset to the first volume: the hemodynamic delay. It may be negative,
        as a control: activity before the stimulus contains no response to it.
    window_trs : int
        Volumes in a window.
    onset_offset_s : float
        Added to every onset, for events on a clock that did not start with the first volume
        (12 s in HAD, ds004488).
    """

    delay_s: float
    window_trs: int
    onset_offset_s: float = 0.0

    def __post_init__(self) -> None:
        if self.window_trs < 1:
            raise InputError(f"WindowSpec: window_trs must be >= 1, got {self.window_trs}.")
        for name in ("delay_s", "onset_offset_s"):
            if not math.isfinite(getattr(self, name)):
                raise InputError(f"WindowSpec: {name} must be finite, got {getattr(self, name)}.")

    def start(self, onset: float, *, tr: float, start_time: float = 0.0) -> int:
        """Return the index of the first volume of a window.

        Parameters
        ----------
        onset : float
            Seconds, as in the events file.
        tr : float
            Seconds between volumes.
        start_time : float
            Acquisition time of the first volume on the clock of the events, seconds.

        Raises
        ------
        InputError
            A time is not finite or `tr` is not positive.
        """
        return nearest_volume(onset + self.onset_offset_s + self.delay_s - start_time, tr)

    def guard_trs(self, tr: float) -> int:
        """Return the volumes required between windows of different parts: window + delay."""
        return self.window_trs + max(0, volumes_to_cover(self.delay_s, tr))


@checked(error=CohortError, least={"frames": 1, "guard_trs": 0})
@dataclass(frozen=True)
class Trial:
    """One presentation of one stimulus.

    Parameters
    ----------
    trial_id, run_id, subject, session, run : str
    onset, duration : float
        Seconds; the onset is that of the events file.
    start, frames : int
        First volume and number of volumes of the window.
    stimulus : str
        Name of the stimulus; equal names are the same stimulus. "" if not in the events.
    text : str
        Target text of the decoder.
    category : str
    clip : str
        Stimulus file relative to the root of the cohort, "" if there is none.
    guard_trs : int
        Default distance from windows of another part, see :meth:`WindowSpec.guard_trs`.
    story : str
        Story or passage that contains the stimulus, "" if not in the events.
    family, site : str
        Family and site of the subject, "" if not known.
    instruction : str
        Instruction that `text` answers, "" if there is none.
    """

    trial_id: str
    run_id: str
    subject: str
    session: str
    run: str
    onset: float
    duration: float
    start: int
    frames: int
    stimulus: str
    text: str
    category: str = ""
    clip: str = ""
    guard_trs: int = 0
    story: str = ""
    family: str = ""
    site: str = ""
    instruction: str = ""


@dataclass(frozen=True)
class Timing:
    """Timing of a trial: `onset` and `duration` in seconds, first volume `start` of its window."""

    onset: float
    duration: float
    start: int


class LateWindowError(CohortError):
    """The window of a trial leaves its run."""


@checked
def read_trials(
    run: RunRecord,
    window: WindowSpec,
    *,
    tr: float,
    n_volumes: int,
    ignore: tuple[str, ...] = (),
    dropped: list[str] | None = None,
) -> list[Trial]:
    """Read the trials of a run.

    Columns: ``onset`` and ``duration`` in seconds; the text from ``text``, else ``trial_type``;
    optional ``stimulus`` (else ``stim_file``), ``category`` (else ``trial_type``), ``story`` (else
    ``passage``) and ``stim_file``, a file below ``stimuli/``.

    Parameters
    ----------
    run : RunRecord
    window : WindowSpec
    tr : float
        Seconds between volumes.
    n_volumes : int
        Length of the run.
    ignore : tuple of str
        Rows with one of these as trial type or text are not trials ("rest", "n/a").
    dropped : list of str, optional
        Trials with windows that leave the run are left out, and their descriptions are appended
        here. Default: such a trial is an error.

    Returns
    -------
    list of Trial
        In the order of the file.

    Raises
    ------
    CohortError
        A row has no text, its onset is not a number, or its window leaves the run and `dropped` is
        None; the message names file and row.
    """
    if not tr > 0 or n_volumes < 1:
        raise CohortError(
            f"read_trials: tr must be positive and n_volumes 1 or more, got {tr} and {n_volumes}."
        )
    columns, rows = read_tsv(run.events)
    needed = ["onset", "duration"]
    absent = [name for name in needed if name not in columns]
    if absent or not {"text", "trial_type"} & set(columns):
        raise CohortError(
            f"read_trials: {run.events} must have the columns onset, duration and text or "
            f"trial_type, got {', '.join(columns)}."
        )
    trials = []
    for number, row in enumerate(rows, start=1):
        if {row.get("text"), row.get("trial_type")} & set(ignore):
            continue
        try:
            trials.append(_trial(run, window, row, number, tr, n_volumes))
        except LateWindowError:
            if dropped is None:
                raise
            dropped.append(f"{row.where}, trial {number}")
    if not trials:
        raise CohortError(f"read_trials: {run.events} must hold at least one trial, got none.")
    return trials


def read_timing(
    run: RunRecord, row: Row, window: WindowSpec, *, where: str, tr: float, n_volumes: int
) -> Timing:
    """Read onset and duration of an events row and place its window.

    Parameters
    ----------
    run : RunRecord
        The run that the events belong to.
    row : Row
    window : WindowSpec
    where : str
        File, line and trial, for messages.
    tr : float
        Seconds between volumes.
    n_volumes : int
        Length of the run.

    Raises
    ------
    CohortError
        The onset is not a number, the window leaves the run, or the duration exceeds the run.
    """
    onset = seconds_of(row["onset"], where=f"{where} onset")
    if onset is None:
        raise CohortError(f"read_trials: {where} must have an onset, got '{row['onset']}'.")
    duration = seconds_of(row["duration"], where=f"{where} duration") or 0.0
    if duration < 0:
        raise CohortError(f"read_trials: {where} duration must be >= 0 s, got {duration}.")
    try:
        start = window.start(onset, tr=tr, start_time=run.start_time)
    except InputError as error:
        raise CohortError(f"read_trials: {where} must have a usable onset: {error}") from error
    if start < 0 or start + window.window_trs > n_volumes:
        raise LateWindowError(
            f"read_trials: {where} must have its window inside the run's {n_volumes} volumes, got "
            f"{start:.10g}..{start + window.window_trs:.10g} (onset {onset:g} s). Check tr, delay "
            "and onset_offset, take the row out, or drop such trials (--late drop)."
        )
    if duration > n_volumes * tr:
        raise CohortError(
            f"read_trials: {where} duration must be at most the run's {n_volumes * tr:g} s, got "
            f"{duration:g}. Durations are in seconds: is it milliseconds?"
        )
    return Timing(onset, duration, start)


def _trial(
    run: RunRecord, window: WindowSpec, row: Row, number: int, tr: float, n_volumes: int
) -> Trial:
    where = f"{row.where}, trial {number}"
    column = "text" if "text" in row else "trial_type"
    text = given(row, column)
    if not text:
        raise CohortError(
            f"read_trials: {where} must have a text, got '{row[column]}'. Fill it in, or name its "
            "trial type in ignore= if it is not a trial."
        )
    timing = read_timing(run, row, window, where=where, tr=tr, n_volumes=n_volumes)
    stim_file = given(row, "stim_file")
    return Trial(
        trial_id=f"{run.run_id}_trial-{number:03d}",
        run_id=run.run_id,
        subject=run.subject,
        session=run.session,
        run=run.run,
        onset=timing.onset,
        duration=timing.duration,
        start=timing.start,
        frames=window.window_trs,
        stimulus=given(row, "stimulus") or stim_file,
        text=text,
        category=given(row, "category") or given(row, "trial_type"),
        clip=clip_of(run, stim_file),
        guard_trs=window.guard_trs(tr),
        story=given(row, "story", label=True) or given(row, "passage", label=True),
        family=run.family,
        site=run.site,
    )


def clip_of(run: RunRecord, stim_file: str) -> str:
    """Return the path of a stimulus file relative to the cohort's root, below ``stimuli/``."""
    if not stim_file:
        return ""
    inside(
        (run.root or Path(".")) / "stimuli",
        stim_file,
        what=f"read_trials: stim_file '{stim_file}' of {run.events}",
        remedy="Put the file itself below stimuli/.",
    )
    return f"stimuli/{stim_file}"
