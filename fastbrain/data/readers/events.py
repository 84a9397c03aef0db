"""Trials: read events and assign a window of volumes to each stimulus."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from ..._arguments import checked
from ...errors import CohortError
from .columns import suggestions, unused_columns
from .inside import inside
from .runs_table import RunRecord
from .tables import Row, given, read_tsv
from .trial_windows import LateWindowError, Timing, WindowSpec, read_timing


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
    prompt : str
        Text that precedes `text`, which continues it (previous words of a story); "" if none.
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
    prompt: str = ""


@checked
def read_trials(
    run: RunRecord,
    window: WindowSpec,
    *,
    tr: float,
    n_volumes: int,
    ignore: tuple[str, ...] = (),
    dropped: list[str] | None = None,
    need_text: bool = True,
    unused: Counter[str] | None = None,
) -> list[Trial]:
    """Read the trials of a run.

    Columns: ``onset`` and ``duration`` in seconds; the text from ``text``, else ``trial_type``;
    optional ``stimulus`` (else ``stim_file``), ``category`` (else ``trial_type``), ``story`` (else
    ``passage``), ``stim_file``, a file below ``stimuli/``, and ``instruction`` and ``prompt`` (else
    those of the run).

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
    need_text : bool
        Whether a row without a text is an error; else its text is "", for decoding.
    unused : Counter of str, optional
        Counts the columns that are not used; :func:`.columns.tell_unused` prints them.

    Returns
    -------
    list of Trial
        In the order of the file.

    Raises
    ------
    CohortError
        The run has no events, a row has no text, its onset is not a number, or its window leaves
        the run and `dropped` is None; the message names file and row.
    """
    if not tr > 0 or n_volumes < 1:
        raise CohortError(
            f"read_trials: tr must be positive and n_volumes 1 or more, got {tr} and {n_volumes}."
        )
    columns, rows = read_tsv(run.events_table())
    whole = {"onset", "duration"} <= set(columns)
    if not whole or (need_text and not {"text", "trial_type"} & set(columns)):
        texts = " and text or trial_type" if need_text else ""
        raise CohortError(
            f"read_trials: {run.events} must have the columns onset, duration{texts}, got "
            f"{', '.join(columns)}.{suggestions(columns)}"
        )
    if unused is not None:
        unused.update(unused_columns(columns))
    trials = []
    for number, row in enumerate(rows, start=1):
        if {row.get("text"), row.get("trial_type")} & set(ignore):
            continue
        try:
            trial = _trial(run, window, row, number, tr, n_volumes, need_text)
            trials.append(trial)
        except LateWindowError:
            if dropped is None:
                raise
            dropped.append(f"{row.where}, trial {number}")
    if not trials:
        raise CohortError(f"read_trials: {run.events} must hold at least one trial, got none.")
    return trials


def _trial(
    run: RunRecord,
    window: WindowSpec,
    row: Row,
    number: int,
    tr: float,
    n_volumes: int,
    need_text: bool,
) -> Trial:
    # the text first: a row that is no trial rarely has one, and that is the clearer error
    _text(row, number, need_text)
    where = f"{row.where}, trial {number}"
    timing = read_timing(run, row, window, where=where, tr=tr, n_volumes=n_volumes)
    return described(run, window, row, number, timing, tr, need_text)


def _text(row: Row, number: int, need_text: bool) -> str:
    column = "text" if "text" in row else "trial_type"
    text = given(row, column)
    if need_text and not text:
        raise CohortError(
            f"read_trials: {row.where}, trial {number} must have a text, got '{row[column]}'. Fill "
            "it in, or name its trial type in ignore= if it is not a trial."
        )
    return text


def described(
    run: RunRecord,
    window: WindowSpec,
    row: Row,
    number: int,
    timing: Timing,
    tr: float,
    need_text: bool,
) -> Trial:
    """Make the trial of a row of a table at a known time; see :func:`read_trials`."""
    text = _text(row, number, need_text)
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
        instruction=given(row, "instruction", spoken=True) or run.instruction,
        prompt=given(row, "prompt", spoken=True) or run.prompt,
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
