"""Runs and trials as one events table of pandas, a row for each recording and each stimulus.

The columns are those of NeuralSet (Meta, https://facebookresearch.github.io/neuroai): ``type``,
``start`` and ``duration`` in seconds, ``timeline`` (one clock, here a run), ``subject``,
``session``, ``task``, ``run``, ``filepath``, ``frequency`` in hertz, ``text``. A row of type
``Fmri`` is a recording; every other row is a stimulus. Further columns hold what a store needs.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..._arguments import checked
from ...errors import CohortError, InputError, MissingPartError, some
from .entities import entities
from .events import Trial
from .runs_table import RunRecord, label_of
from .tables import MISSING
from .timing import nearest_volume
from .trial_windows import WindowSpec

RECORDING = "Fmri"
_REQUIRED = ("type", "start", "duration", "timeline", "subject")
_OF_FILES = {".mp4": "Video", ".avi": "Video", ".mov": "Video", ".wav": "Audio", ".mp3": "Audio"}
_PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff")
_OF_A_RUN = (
    "session", "run", "family", "site", "instruction", "prompt", "space", "dataset", "resolution",
)  # fmt: skip
_OF_A_TRIAL = (
    "session", "run", "stimulus", "category", "story", "family", "site", "instruction", "prompt",
)  # fmt: skip
_RUN_ID = re.compile(r"[A-Za-z0-9_-]+")


@checked
def events_to_frame(runs: Sequence[RunRecord], trials: Sequence[Trial] = ()) -> Any:
    """Write runs and trials as a frame of pandas.

    Parameters
    ----------
    runs : sequence of RunRecord
    trials : sequence of Trial

    Returns
    -------
    pandas.DataFrame
        Rows sorted by timeline and start. Cells that do not apply are missing values.

    Raises
    ------
    MissingPartError
        pandas is not installed.
    CohortError
        A trial is of none of the runs.
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise MissingPartError(
            "events_to_frame: the package pandas must be installed, got none. "
            "pip install 'fastbrain-fmri[frames]'"
        ) from error
    known = {run.run_id: run for run in runs}
    lost = sorted({trial.run_id for trial in trials} - set(known))
    if lost:
        raise CohortError(
            f"events_to_frame: trials must be of the runs, got those of {some(lost)}. Add the runs."
        )
    rows = [_recording(run) for run in runs]
    rows += [_stimulus(trial, known[trial.run_id]) for trial in trials]
    order = {run_id: place for place, run_id in enumerate(known)}
    rows.sort(key=lambda r: (order[r["timeline"]], r["type"] != RECORDING, r["start"]))
    frame = pd.DataFrame(rows)
    return frame.replace({"": None}) if rows else pd.DataFrame(columns=list(_REQUIRED))


@checked
def events_from_frame(
    frame: Any,
    *,
    window: WindowSpec | None = None,
    types: Sequence[str] | None = None,
    root: str | Path | None = None,
) -> tuple[tuple[RunRecord, ...], tuple[Trial, ...]]:
    """Read runs and trials from a frame of pandas, of :func:`events_to_frame` or of NeuralSet.

    Parameters
    ----------
    frame : pandas.DataFrame
        Columns ``type``, ``start``, ``duration``, ``timeline``, ``subject``, and ``filepath`` of
        rows of type ``Fmri``; ``text`` of the others.
    window : WindowSpec, optional
        Windows of the trials. Default: the columns ``first_volume`` and ``volumes``.
    types : sequence of str, optional
        Types of rows that are trials. Default: all except ``Fmri``.
    root : str or Path, optional
        Folder of the cohort, for frames without the column ``root``.

    Returns
    -------
    runs : tuple of RunRecord
    trials : tuple of Trial
        In the order of the frame.

    Raises
    ------
    InputError
        `frame` is not a frame.
    CohortError
        A column is missing, a cell is no number, a timeline has no recording or several, a type
        does not occur, a trial has no text, or neither `window` nor the columns place its window.
    """
    records = getattr(frame, "to_dict", None)
    columns = list(getattr(frame, "columns", ()))
    if not callable(records) or not columns:
        raise InputError(
            f"events_from_frame: frame must be a pandas.DataFrame, got {type(frame).__name__}."
        )
    absent = [name for name in (*_REQUIRED, "filepath") if name not in columns]
    if absent:
        raise CohortError(
            f"events_from_frame: frame must have the columns {', '.join(absent)}, got "
            f"{some(columns, 12)}. Rename them."
        )
    rows = [{key: _plain(value) for key, value in row.items()} for row in records("records")]
    unknown = sorted(set(types or ()) - {str(row["type"]) for row in rows})
    if unknown:
        raise CohortError(
            f"events_from_frame: types must occur in the frame, got {some(unknown)}. It has "
            f"{some(sorted({str(row['type']) for row in rows}))}."
        )
    runs: dict[str, RunRecord] = {}
    for row in rows:
        if row["type"] == RECORDING:
            if row["timeline"] in runs:
                raise CohortError(
                    f"events_from_frame: timeline {row['timeline']} must have one row of type "
                    f"{RECORDING}, got two. Give each recording a timeline of its own."
                )
            runs[row["timeline"]] = _run(row, root)
    trials = [
        _trial(row, place, runs.get(row["timeline"]), window)
        for place, row in enumerate(rows)
        if row["type"] != RECORDING and (types is None or row["type"] in types)
    ]
    return tuple(runs.values()), tuple(trials)


def _recording(run: RunRecord) -> dict[str, Any]:
    paths = {name: getattr(run, name) for name in ("events", "mask", "confounds", "root")}
    return {
        "type": RECORDING,
        "start": run.start_time,
        "duration": None if run.tr is None or run.n_volumes is None else run.tr * run.n_volumes,
        "timeline": run.run_id,
        "subject": run.subject,
        "task": entities(run.bold).get("task", ""),
        "filepath": str(run.bold),
        "frequency": None if run.tr is None else 1 / run.tr,
        "tr": run.tr,
        "n_volumes": run.n_volumes,
        **{name: "" if path is None else str(path) for name, path in paths.items()},
        **{name: getattr(run, name) for name in _OF_A_RUN},
    }


def _stimulus(trial: Trial, run: RunRecord) -> dict[str, Any]:
    suffix = Path(trial.clip).suffix.lower()
    return {
        "type": "Image" if suffix in _PICTURES else _OF_FILES.get(suffix, "Stimulus"),
        "start": trial.onset,
        "duration": trial.duration,
        "timeline": trial.run_id,
        "subject": trial.subject,
        "task": entities(run.bold).get("task", ""),
        "filepath": trial.clip,
        "text": trial.text,
        "trial_id": trial.trial_id,
        "first_volume": trial.start,
        "volumes": trial.frames,
        "guard_volumes": trial.guard_trs,
        **{name: getattr(trial, name) for name in _OF_A_TRIAL},
    }


def _run(row: Mapping[str, Any], root: str | Path | None) -> RunRecord:
    timeline = str(row["timeline"])
    if not row["filepath"]:
        raise CohortError(
            f"events_from_frame: filepath of the recording {timeline} must name its image, got "
            "none. Add it."
        )
    where = f"the recording {timeline}"
    tr, frequency = _number(row, "tr", where), _number(row, "frequency", where)
    if tr is None and frequency:
        tr = 1 / frequency
    if tr is not None and not tr > 0:
        raise CohortError(
            f"events_from_frame: the repetition time of {where} must be above 0 s, got {tr:g} s. "
            "Correct its tr or frequency."
        )
    n_volumes, duration = _number(row, "n_volumes", where), _number(row, "duration", where)
    if n_volumes is None and tr is not None and duration:
        n_volumes = nearest_volume(duration, tr)
    folder = row.get("root") or root
    files = {name: row.get(name) for name in ("events", "mask", "confounds")}
    texts = {name: str(row.get(name) or "") for name in _OF_A_RUN}
    run = texts.pop("run").removeprefix("run-") or "1"
    return RunRecord(
        run_id=timeline if _RUN_ID.fullmatch(timeline) else re.sub(r"[^\w-]+", "-", timeline),
        subject=label_of(str(row["subject"]), "sub-", where=f"timeline {timeline} subject"),
        run=run,
        bold=Path(row["filepath"]),
        start_time=_number(row, "start", where) or 0.0,
        tr=tr,
        n_volumes=None if n_volumes is None else int(n_volumes),
        root=None if folder is None else Path(folder),
        **{name: Path(value) if value else None for name, value in files.items()},  # type: ignore[arg-type]
        **texts,  # type: ignore[arg-type]
    )


def _trial(
    row: Mapping[str, Any], place: int, run: RunRecord | None, window: WindowSpec | None
) -> Trial:
    where = f"row {place} ({row['type']}, timeline {row['timeline']})"
    if run is None:
        raise CohortError(
            f"events_from_frame: {where} must have a recording on its timeline, got none. Add a "
            f"row of type {RECORDING}, or leave the row out."
        )
    text = " ".join(str(row.get("text") or "").split())
    onset = _number(row, "start", where)
    if text in MISSING or onset is None:
        raise CohortError(
            f"events_from_frame: {where} must have a text and a start, got {text!r} and "
            f"{row['start']}. Choose the rows that are trials (types=)."
        )
    first, volumes = _number(row, "first_volume", where), _number(row, "volumes", where)
    if window is not None:
        if run.tr is None:
            raise CohortError(
                f"events_from_frame: the recording of {where} must have a frequency, got none. "
                "Add the column frequency, in hertz."
            )
        start, frames = (
            window.start(onset, tr=run.tr, start_time=run.start_time),
            window.window_trs,
        )
        guard = window.guard_trs(run.tr)
    elif first is not None and volumes is not None:
        start, frames = int(first), int(volumes)
        guard = int(_number(row, "guard_volumes", where) or 0)
    else:
        raise CohortError(
            f"events_from_frame: {where} must have first_volume and volumes, got none. Give "
            "window=WindowSpec(...)."
        )
    texts = {name: str(row.get(name) or "") for name in _OF_A_TRIAL}
    return Trial(
        trial_id=str(row.get("trial_id") or f"{run.run_id}_event-{place:05d}"),
        run_id=run.run_id,
        subject=run.subject,
        onset=onset,
        duration=_number(row, "duration", where) or 0.0,
        start=start,
        frames=frames,
        text=text,
        clip=str(row["filepath"] or ""),
        guard_trs=guard,
        **{**texts, "session": run.session, "run": run.run},
    )


def _number(row: Mapping[str, Any], name: str, where: str) -> float | None:
    """Return a cell as a number; None if it is missing."""
    value = row.get(name)
    if value is None or (isinstance(value, str) and value.strip() in MISSING):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise CohortError(
            f"events_from_frame: {name} of {where} must be a finite number, got {value!r:.40}. "
            "Correct it."
        )
    return number


def _plain(value: Any) -> Any:
    """Return None for the missing values of pandas, other values as they are."""
    if value is None or value != value or type(value).__name__ in ("NAType", "NaTType"):
        return None
    return value
