"""Plan a study of a public data set from its BIDS folder, before its images are downloaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ..._arguments import checked
from ...errors import CohortError, ConfigError
from ..readers.events import Trial, clip_of
from ..readers.runs_table import RunRecord
from ..readers.tables import read_tsv
from ..readers.trial_windows import LateWindowError, WindowSpec, read_timing
from ..splits.split import Split, made_split
from .annotation import Annotator, Request, Surrogate, annotate, draw
from .annotators import Captions, ClassNames
from .catalog import known_dataset
from .expected_runs import announced_runs
from .known import KnownDataset, Label
from .on_request import RequestedDataset
from .study import Study


@checked
def plan_study(
    root: str | Path,
    dataset: KnownDataset | str,
    *,
    split: Callable[[list[Trial]], Split],
    images: str | Path | None = None,
    space: str | None = None,
    allow_outside: bool = False,
    explained_by: Sequence[str | Path] = (),
    categories: Sequence[str] = (),
    annotator: Annotator | None = None,
    instructions: Sequence[str] = (),
    window: WindowSpec | None = None,
    cache: str | Path | None = None,
    seed: int = 0,
    chosen: Mapping[str, str | None] | None = None,
) -> Study:
    """Plan a study of a public data set from its BIDS folder; no image is opened.

    Parameters
    ----------
    root : str or Path
    dataset : KnownDataset or str
        "had", "bold5000", "boldmoments" or "urgen".
    split : callable
        Function that makes the split from the trials.
    images : str or Path, optional
        Folder of preprocessed images; default `root`.
    space : str, optional
        Space of the images.
    allow_outside : bool
        Whether files may be links that lead out of their data set.
    explained_by : sequence of str or Path
        Folders with captions and class names, searched before `root`.
    categories : sequence of str
        Categories to keep. Default: all.
    annotator : Annotator, optional
        Default: the captions of the stimuli, else sentences from their class names.
    instructions, window
        Default: those of the data set. One instruction is drawn for each record.
    cache : str or Path, optional
        Folder in which the answers of the annotator are stored and reused.
    seed : int
    chosen : mapping of str to str, optional
        Other entities of the images, ``{"echo": "2"}``, as in :func:`runs_from_bids`.

    Returns
    -------
    Study

    Raises
    ------
    CohortError, SplitError, LeakError
        An input is invalid; the message names it.
    ConfigError
        A category does not occur, or an entity cannot be chosen.
    """
    dataset = known_dataset(dataset) if isinstance(dataset, str) else dataset
    window = window or dataset.window
    root = Path(root)
    runs = announced_runs(
        root,
        task=dataset.task_in(root) if isinstance(dataset, RequestedDataset) else dataset.task,
        images=images,
        space=space,
        allow_outside=allow_outside,
        chosen=chosen,
    )
    trials, answers = labelled_trials(
        runs,
        dataset,
        root=root,
        window=window,
        explained_by=explained_by,
        categories=categories,
        annotator=annotator,
        instructions=instructions,
        cache=cache,
        seed=seed,
    )
    parts = made_split(split, trials, function="plan_study")
    return Study(dataset, root, runs, trials, parts, window, answers)


@checked
def labelled_trials(
    runs: Sequence[RunRecord],
    dataset: KnownDataset,
    *,
    root: str | Path,
    window: WindowSpec,
    explained_by: Sequence[str | Path] = (),
    categories: Sequence[str] = (),
    annotator: Annotator | None = None,
    instructions: Sequence[str] = (),
    cache: str | Path | None = None,
    seed: int = 0,
    dropped: list[str] | None = None,
) -> tuple[list[Trial], tuple[Surrogate, ...]]:
    """Read the trials of a public data set, with their texts.

    Parameters
    ----------
    runs : sequence of RunRecord
    dataset : KnownDataset
    root, window, explained_by, categories, annotator, instructions, cache, seed
        See :func:`plan_study`.
    dropped : list of str, optional
        Receives the trials with a window that leaves the run. Default: such a trial is an error.

    Raises
    ------
    CohortError
        An input is invalid.
    ConfigError
        A category does not occur.
    """
    root = Path(root)
    label = dataset.labeller([*map(Path, explained_by), root])
    labelled = [
        pair for run in runs for pair in _trials(run, dataset, window, label, categories, dropped)
    ]
    if isinstance(dataset, RequestedDataset) and not categories:
        dataset.check([trial for trial, _ in labelled])
    unknown = set(categories) - {trial.category for trial, _ in labelled}
    if unknown:
        raise ConfigError(
            f"plan_study: categories must occur in the events, got {sorted(unknown)}."
        )
    if not labelled:
        raise CohortError(
            f"plan_study: the events of {root} must hold a trial with its window inside a run, got "
            "none. Check the delay and the length of the window."
        )
    if annotator is None:
        named = ClassNames(dataset.templates)
        captioned = any(known.captions for _, known in labelled)
        annotator = Captions(otherwise=named) if captioned else named
    asked = tuple(instructions) or dataset.instructions
    requests = [request_of(trial, known, root, asked, seed) for trial, known in labelled]
    answers = annotate(requests, annotator, cache=cache)
    trials = [
        replace(t, text=answers[t.trial_id].text, instruction=answers[t.trial_id].instruction)
        for t, _ in labelled
    ]
    return trials, tuple(answers.values())


def _trials(
    run: RunRecord,
    dataset: KnownDataset,
    window: WindowSpec,
    label: Callable[[dict[str, str]], Label],
    categories: Sequence[str],
    dropped: list[str] | None,
) -> list[tuple[Trial, Label]]:
    tr, n_volumes = dataset.clock_of(run)
    columns, rows = read_tsv(run.events_table())
    if not {"onset", "duration"} <= set(columns):
        raise CohortError(
            f"plan_study: {run.events} must have the columns onset and duration, got {columns}."
        )
    found = []
    for number, row in enumerate(rows, start=1):
        where = f"{row.where}, trial {number}"
        if row.get("trial_type") in dataset.ignore:
            continue
        known = label(row)
        if categories and known.category not in categories:
            continue
        trial_id = f"{run.run_id}_trial-{number:03d}"
        try:
            timing = read_timing(run, row, window, where=where, tr=tr, n_volumes=n_volumes)
        except LateWindowError:
            if dropped is None:
                raise
            dropped.append(trial_id)
            continue
        trial = Trial(
            trial_id=trial_id,
            run_id=run.run_id,
            subject=run.subject,
            session=run.session,
            run=run.run,
            onset=timing.onset,
            duration=timing.duration,
            start=timing.start,
            frames=window.window_trs,
            stimulus=known.stimulus,
            text="",
            category=known.category,
            clip=clip_of(run, known.clip),
            guard_trs=window.guard_trs(tr),
            family=run.family,
            site=run.site,
        )
        found.append((trial, known))
    return found


def request_of(
    trial: Trial, label: Label, root: Path, instructions: Sequence[str], seed: int
) -> Request:
    """Ask for the text of a trial: one of the instructions, drawn, about its stimulus."""
    i = draw(seed, trial.trial_id, "instruction", len(instructions))
    return Request(
        record_id=trial.trial_id,
        instruction=instructions[i],
        seed=seed,
        stimulus=label.stimulus,
        category=label.category,
        name=label.name,
        captions=label.captions,
        clip=str(root / trial.clip) if trial.clip else "",
    )
