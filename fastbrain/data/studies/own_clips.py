"""Surrogate texts for any cohort: an annotator answers from the clips that its events name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ..._arguments import checked
from ...errors import CohortError, ConfigError, some
from ..readers.events import Trial, read_trials
from ..readers.recordings import open_recording
from ..readers.runs_table import RunRecord
from ..readers.tables import read_lines
from ..readers.trial_windows import WindowSpec
from ..store.store import VoxelStore
from .annotation import Annotator, Surrogate, annotate, read_surrogates
from .had import HAD
from .known import Label
from .study_plan import request_of

SURROGATES = "surrogates.jsonl"


@checked
def trials_to_annotate(
    runs: Sequence[RunRecord],
    window: WindowSpec,
    *,
    ignore: tuple[str, ...] = (),
    dropped: list[str] | None = None,
    need_clips: bool = False,
) -> list[Trial]:
    """Read trials, to which an annotator will give texts; until then a text is a placeholder.

    Parameters
    ----------
    runs : sequence of RunRecord
    window : WindowSpec
    ignore, dropped
        See :func:`fastbrain.data.readers.events.read_trials`.
    need_clips : bool
        Whether each trial must have its clip on disk, for an annotator that looks at it.

    Raises
    ------
    CohortError
        An events table is invalid, or clips are missing; the message counts and names them.
    """
    trials: list[Trial] = []
    absent: dict[str, str] = {}
    for run in runs:
        volumes = open_recording(run)
        found = read_trials(
            *(run, window),
            tr=volumes.tr,
            n_volumes=volumes.shape[0],
            ignore=ignore,
            dropped=dropped,
            need_text=False,
        )
        for trial in found:
            clip = (run.root or Path(".")) / trial.clip
            if need_clips and not (trial.clip and clip.is_file()):
                absent[trial.trial_id] = str(clip) if trial.clip else "no stim_file"
        trials += [replace(trial, text="not answered yet") for trial in found]
    if absent:
        shown = some([f"{trial} ({clip})" for trial, clip in absent.items()])
        raise CohortError(
            f"trials_to_annotate: each trial must have its clip, stim_file in its events and the "
            f"file below stimuli/, got none for {len(absent)} of {len(trials)}: {shown}."
        )
    return trials


@checked
def answered(
    trials: Sequence[Trial],
    runs: Sequence[RunRecord],
    annotator: Annotator,
    *,
    instructions: Sequence[str] = (),
    cache: str | Path | None = None,
    seed: int = 0,
) -> tuple[list[Trial], tuple[Surrogate, ...]]:
    """Give each trial the answer of an annotator to a random instruction as its text.

    Parameters
    ----------
    trials : sequence of Trial
    runs : sequence of RunRecord
    annotator : Annotator
    instructions : sequence of str
        One is drawn for each trial; default: those of HAD.
    cache : str or Path, optional
        Folder in which the answers are stored and reused.
    seed : int

    Returns
    -------
    trials : list of Trial
        With text and instruction.
    surrogates : tuple of Surrogate
        Origin of each text.

    Raises
    ------
    CohortError
        A trial has no name or caption for the annotator, or the cache is damaged.
    """
    roots = {run.run_id: run.root or Path(".") for run in runs}
    asked = tuple(instructions) or HAD.instructions
    requests = [
        request_of(
            trial,
            Label(trial.stimulus or trial.trial_id, trial.category, name=trial.category),
            roots[trial.run_id],
            asked,
            seed,
        )
        for trial in trials
    ]
    found = annotate(requests, annotator, cache=cache)
    told = [
        replace(t, text=found[t.trial_id].text, instruction=found[t.trial_id].instruction)
        for t in trials
    ]
    return told, tuple(found.values())


@checked
def read_instructions(path: str | Path) -> tuple[str, ...]:
    """Read instructions, one on each line.

    Raises
    ------
    ConfigError
        The file has no instruction, or one twice.
    """
    lines = tuple(" ".join(line.split()) for line in read_lines(Path(path)) if line.strip())
    if not lines or len(set(lines)) < len(lines):
        raise ConfigError(
            f"instructions: {path} must hold one instruction a line, each once, got {len(lines)} "
            f"lines{' with repetitions' if lines else ''}."
        )
    return lines


def origin_of(store: VoxelStore) -> str:
    """Say who wrote the texts of a store, if they are surrogates; "" if no record says so.

    Raises
    ------
    CohortError
        The record is damaged, or belongs to other texts.
    """
    path = store.path / SURROGATES
    if not path.is_file():
        return ""
    found = read_surrogates(path)
    texts = {s.record_id: s.text for s in found}
    other = [t.trial_id for t in store.trials if texts.get(t.trial_id) != t.text]
    if other or not found:
        raise CohortError(
            f"surrogates: {path} must tell the origin of each text of the store, got others for "
            f"{some(other)}. Remove the file, or prepare the store again."
        )
    models = sorted({f"{s.model} ({s.digest})" for s in found})
    asked = len({s.instruction for s in found})
    return f"answers of {', '.join(models)} to {asked} instructions, not of people"
