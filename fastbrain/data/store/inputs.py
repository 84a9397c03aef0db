"""Check the inputs of a store: trials against runs, valid Unicode, and unchanged images."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from ..._digests import difference, identity
from ..._environment import check_name
from ...errors import CohortError, some
from ..readers.events import Trial
from ..readers.recordings import files_of
from ..readers.runs_table import RunRecord
from ..readers.trial_windows import WindowSpec

_PAIR = (".hdr", ".hdr.gz", ".img", ".img.gz")

_OF_A_RUN = ("subject", "session", "run", "family", "site")

Identities = dict[str, dict[str, int | str]]


def check_trials(
    trials: Iterable[Trial],
    runs: Iterable[RunRecord],
    lengths: Mapping[str, int],
    *,
    tr: float,
    window: WindowSpec,
) -> None:
    """Raise for trials that do not fit the images; used for trials not read from events files.

    Parameters
    ----------
    trials : iterable of Trial
    runs : iterable of RunRecord
    lengths : mapping of str to int
        Volumes by run.
    tr : float
        Seconds between volumes.
    window : WindowSpec

    Raises
    ------
    CohortError
        The run of a trial is unknown or belongs to another subject, its name is missing or used
        twice, it has no text, its window does not match its onset or leaves the run, or it lasts
        longer than the run.
    """
    by_id = {run.run_id: run for run in runs}
    seen: set[str] = set()
    for t in trials:
        run = by_id.get(t.run_id)
        start = window.start(t.onset, tr=tr, start_time=run.start_time if run else 0.0)
        length = lengths.get(t.run_id, 0)
        got = f"{t.start}..{t.start + t.frames}"
        if run is None or any(getattr(run, name) != getattr(t, name) for name in _OF_A_RUN):
            contract = f"be of a run with the same {', '.join(_OF_A_RUN)}"
            got = f"{[getattr(t, name) for name in _OF_A_RUN]} in {t.run_id}"
        elif not t.trial_id or t.trial_id in seen or not t.text:
            contract, got = "have a name of its own and a text", f"{t.trial_id!r} and {t.text!r}"
        elif (t.start, t.frames) != (start, window.window_trs):
            contract = f"have the window {start}..{start + window.window_trs} of its onset"
        elif not 0 <= start <= length - t.frames:
            contract = f"lie inside its run of {length} volumes"
        elif not 0 <= t.duration <= length * tr:
            contract = f"last from 0 s to the run's {length * tr:g} s"
            got = f"{t.duration:g} s"
        else:
            seen.add(t.trial_id)
            continue
        raise CohortError(
            f"plan_store: trial {t.trial_id} must {contract}, got {got}. Plan the study again "
            "from these images."
        )


def check_texts(runs: Iterable[RunRecord], trials: Iterable[Trial]) -> None:
    """Raise for names and texts that a store cannot write, before anything is computed.

    Raises
    ------
    CohortError
        The folder of the cohort, the name of an image or a text of a trial is not valid Unicode.
    """
    for run in runs:
        for path in (run.root, run.bold.name):
            if path is not None:
                check_name(path, function="plan_store", error=CohortError)
    for trial in trials:
        for name, value in asdict(trial).items():
            try:
                str(value).encode()
            except UnicodeEncodeError as error:
                raise CohortError(
                    f"plan_store: trial {trial.trial_id!a} must have texts of valid Unicode, "
                    f"got {name} {value!a}. Save the events table as UTF-8."
                ) from error


def refuse_without_texts(trials: Iterable[Trial], *, function: str) -> None:
    """Raise if no trial has a text, as in a store of runs without events.

    Raises
    ------
    CohortError
        There is no text.
    """
    if not any(trial.text for trial in trials):
        raise CohortError(
            f"{function}: trials must have texts, got none. A store that was prepared without "
            "events (prepare --no-events) pretrains the encoder (train scmbm), and serves nothing "
            "else."
        )


def identities(bold: Path, volume: Path | None = None) -> Identities:
    """Compute the identity of each file of an image; pairs (headers, hemispheres) have two.

    Raises
    ------
    CohortError
        A file cannot be read.
    """
    files = [*files_of(bold), *([volume] if volume is not None else [])]
    for suffix in _PAIR:
        if bold.name.endswith(suffix):
            stem = bold.name.removesuffix(suffix)
            files = [p for p in (bold.with_name(stem + other) for other in _PAIR) if p.is_file()]
            break
    return {file.name: identity(file) for file in files}


def size_and_time(path: Path) -> tuple[int, int]:
    """Return the size in bytes and the last modification time (ns) of the files of an image.

    Raises
    ------
    CohortError
        There is no such file.
    """
    try:
        found = [os.stat(file) for file in files_of(path)]
    except OSError as error:
        raise CohortError(f"prepare_store: {path} must exist, got '{error}'.") from error
    return sum(each.st_size for each in found), max(each.st_mtime_ns for each in found)


def changed_inputs(runs: Sequence[RunRecord], recorded: Sequence[object]) -> str:
    """Describe which images differ from those recorded; "" if none does.

    Parameters
    ----------
    runs : sequence of RunRecord
    recorded : sequence of dict
        Result of :func:`identities` for each run when it was converted.
    """
    found = []
    for run, before in zip(runs, recorded, strict=True):
        now = identities(run.bold, run.volume)
        if not isinstance(before, dict) or set(before) != set(now):
            found.append(f"{run.run_id} ({run.bold.name}: other files)")
            continue
        for name, value in now.items():
            what = difference(before[name], value)
            if what is not None:
                found.append(f"{run.run_id} ({name}: {what})")
    return some(found)
