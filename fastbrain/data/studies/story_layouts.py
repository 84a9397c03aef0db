"""Find the runs of public data sets of stories, and the words that were heard in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from ..._progress import say
from ...errors import CohortError, some
from ..readers import bids
from ..readers.companions import confounds_of, mask_of
from ..readers.entities import (
    Image,
    agrees,
    check_choice,
    choose,
    entities,
    is_data,
    refuse_misplaced,
    refuse_several,
)
from ..readers.gentle import read_gentle
from ..readers.inside import inside
from ..readers.participants import read_participants
from ..readers.runs_table import RunRecord, check_unique, label_of, run_id_of
from ..readers.sidecars import clock_of, read_sidecar
from ..readers.surface_names import images_in, on_surface
from ..readers.tables import given, read_tsv, seconds_of
from ..readers.tree import Tree
from ..readers.word_timings import Word, read_words
from .expected_runs import announced_runs
from .narratives_files import alignment_of, conditions, excluded
from .stories import StoryDataset

Clock = Literal["story", "audio"]
_SLACK_S = 3.0  # a last word may fade out after the story
_TEXTGRIDS = ("derivative/TextGrids", "derivatives/TextGrids", "stimuli", "stimuli/TextGrids")


@dataclass(frozen=True)
class HeardStory:
    """A story of one run.

    Parameters
    ----------
    story : str
        Name by which splits group: versions of one story share it.
    version : str
        What was heard; equal names have equal words.
    words : tuple of Word
        In seconds after `onset`.
    onset : float
        Seconds after the first volume.
    end : float
        End of the story in seconds after the first volume.
    """

    story: str
    version: str
    words: tuple[Word, ...]
    onset: float
    end: float


@dataclass(frozen=True)
class StoryRun:
    """A run with its stories, in the order in which they were heard."""

    run: RunRecord
    stories: tuple[HeardStory, ...]


@dataclass(frozen=True)
class Where:
    """Where the files of a study are, as in :func:`fastbrain.data.plan_stories`."""

    root: Path
    images: Path
    space: str | None
    allow_outside: bool
    chosen: Mapping[str, str | None]


def narratives_runs(
    dataset: StoryDataset, where: Where, *, stories: Sequence[str], clock: Clock
) -> list[StoryRun]:
    """Find the runs of Narratives by their events files, with ``stimuli/gentle`` alignments.

    Runs that ``code/scan_exclude.json`` lists are left out, and so are tasks without alignments.

    Raises
    ------
    CohortError
        No run is left, or the words of a story do not fit its events.
    """
    root = where.root
    tasks = sorted({entities(p).get("task", "") for p in _files(root, "_events.tsv")} - {""})
    wanted = [t for t in tasks if not stories or {t, dataset.same.get(t, t)} & set(stories)]
    left = excluded(root)
    versions = conditions(root)
    found: list[StoryRun] = []
    left_out, untold = 0, []
    for task in wanted:
        records = announced_runs(
            root, task=task, images=where.images, space=where.space,
            allow_outside=where.allow_outside, chosen=where.chosen,
        )  # fmt: skip
        for record in records:
            stem = record.events_table().name.removesuffix("_events.tsv")
            if stem in left:
                left_out += 1
                continue
            version = alignment_of(root, task, versions.get((f"sub-{record.subject}", task), ""))
            if version is None:
                untold.append(task)
                continue
            named = _named(record, task)
            found.append(StoryRun(named, _told(dataset, named, task, *version, clock)))
    if left_out:
        say(f"note: {left_out} runs that the authors exclude are left out (code/scan_exclude.json)")
    if untold:
        names = some(sorted(set(untold)))
        say(f"note: tasks without words in stimuli/gentle are left out: {names}")
    if not found:
        raise CohortError(
            f"plan_stories: {root} must hold events of {dataset.title} and "
            f"stimuli/gentle/STORY/align.csv, got none that fit. Its tasks are {some(tasks)}; "
            "fetch the words with 'datalad get stimuli/gentle'."
        )
    found.sort(key=lambda one: bids.natural(one.run))
    check_unique(root, [one.run for one in found])
    return found


def lebel_runs(
    dataset: StoryDataset, where: Where, *, stories: Sequence[str], words: Path | None
) -> list[StoryRun]:
    """Find the runs of LeBel et al. by their images, with a TextGrid for each task.

    Links of git-annex or DataLad to images that were not fetched count as images.

    Raises
    ------
    CohortError
        No run with a TextGrid was found, or a file is misplaced or damaged.
    """
    folder = where.images
    grids = _textgrids(where.root, words)
    choice = check_choice({"space": where.space, **where.chosen}, function="plan_stories")

    def ending(suffixes: tuple[str, ...]) -> list[Image]:
        files = [path for suffix in suffixes for path in _files(folder, suffix)]
        return [(path, tags) for path in files if agrees(tags := entities(path), choice)]

    images = images_in(choice, ("_bold.nii.gz", "_bold.nii"), ending)
    wanted = grids.keys() & set(stories) if stories else grids.keys()
    told = [image for image in images if image[1].get("task") in wanted]
    told = choose(folder, told, choice, single=("space",), function="plan_stories")
    if not told:
        raise CohortError(
            f"plan_stories: {folder} must hold sub-*/ses-*/func/*_task-STORY_bold.nii.gz with a "
            f"TextGrid of each story, got {len(images)} images and {len(grids)} TextGrids. Name "
            "their folder with words= (--words)."
        )
    for task in sorted({tags["task"] for _, tags in told}):
        of_task = [image for image in told if image[1]["task"] == task]
        refuse_several(folder, of_task, function="plan_stories")
    labels = [label_of(tags.get("sub", ""), "sub-", where=f"{p} subject") for p, tags in told]
    people = read_participants(where.root, labels, allow_outside=where.allow_outside)
    tree = Tree(folder, allow_outside=where.allow_outside, function="plan_stories")
    found, clocks = [], []
    texts: dict[str, tuple[Word, ...]] = {}
    for (bold, tags), subject in zip(told, labels, strict=True):
        refuse_misplaced(folder, bold, tags)
        if not where.allow_outside and not bold.is_symlink():
            inside(folder, str(bold.relative_to(folder)), what=f"plan_stories: {bold}")
        sidecar = read_sidecar(tree, bold, tags)
        clock = clock_of(sidecar)
        clocks.append(clock)
        task, session = tags["task"], tags.get("ses", "")
        run = f"{task}{tags.get('run', '')}"
        record = RunRecord(
            run_id=run_id_of(subject, session, run),
            subject=subject,
            session=session,
            run=run,
            bold=bold,
            events=grids[task],
            mask=None if on_surface(tags) else mask_of(tree, bold, tags),
            confounds=confounds_of(tree, bold, tags),
            tr=clock.tr,
            start_time=clock.start_time or 0.0,
            n_volumes=clock.n_volumes,
            root=where.root,
            **people.get(subject, {}),
        )
        if task not in texts:
            texts[task] = tuple(read_words(grids[task]))
        story, onset = dataset.same.get(task, task), dataset.onset(task)
        end = onset + texts[task][-1].offset
        found.append(StoryRun(record, (HeardStory(story, task, texts[task], onset, end),)))
    found.sort(key=lambda one: bids.natural(one.run))
    check_unique(folder, [one.run for one in found])
    bids.tell(clocks)
    return found


def _files(root: Path, suffix: str) -> list[Path]:
    found = [p for pattern in ("sub-*/func/*", "sub-*/ses-*/func/*") for p in root.glob(pattern)]
    return sorted(p for p in found if p.name.endswith(suffix) and is_data(root, p))


def _named(record: RunRecord, task: str) -> RunRecord:
    """Name a run by its task too, because runs of several tasks share their numbers."""
    run = f"{task}{entities(record.events_table()).get('run', '')}"
    return replace(record, run=run, run_id=run_id_of(record.subject, record.session, run))


def _told(
    dataset: StoryDataset, run: RunRecord, task: str, version: str, path: Path, clock: Clock
) -> tuple[HeardStory, ...]:
    """Assign the words of an alignment to the stories in the events of a run."""
    events = run.events_table()
    _, rows = read_tsv(events)
    starts: list[float] = []
    spans: list[tuple[float, float]] = []
    for row in rows:
        onset = seconds_of(row.get("onset", ""), where=f"{row.where} onset")
        length = seconds_of(row.get("duration", ""), where=f"{row.where} duration")
        if onset is None:
            continue
        starts.append(onset - run.start_time)
        if given(row, "trial_type") == "story" and length:
            spans.append((starts[-1], starts[-1] + length))
    if not spans:
        raise CohortError(
            f"plan_stories: {events} must have a row of trial_type 'story' with onset and "
            "duration, got none."
        )
    words = read_gentle(path)
    if len(spans) > 1 and clock == "story":
        raise CohortError(
            f"plan_stories: {events} has {len(spans)} stories and {path} the words of all. Leave "
            f"the task {task} out (--stories), or count from the audio file (--clock audio)."
        )
    zero = spans[0][0] if clock == "story" else min(starts)
    heard = []
    for number, (start, stop) in enumerate(spans, start=1):
        own = [
            Word(w.text, w.onset + zero - start, w.offset + zero - start)
            for w in words
            if len(spans) == 1 or start <= w.onset + zero < stop
        ]
        if not own or own[0].onset < -_SLACK_S or own[-1].offset > stop - start + _SLACK_S:
            place = f"{own[0].onset:g} to {own[-1].offset:g} s" if own else "no word"
            other = "audio" if clock == "story" else "story"
            raise CohortError(
                f"plan_stories: words of {path} must lie within the {stop - start:g} s of the "
                f"story in {events}, got {place}. They may count from the "
                f"{'start of the audio file' if other == 'audio' else 'story'}: --clock {other}."
            )
        name = version if len(spans) == 1 else f"{version}{number}"
        story = dataset.same.get(task, task) if len(spans) == 1 else name
        heard.append(HeardStory(story, name, tuple(own), start, stop))
    return tuple(heard)


def _textgrids(root: Path, folder: Path | None) -> dict[str, Path]:
    """TextGrid of each story, by the name of the file without its ending."""
    folders = [folder] if folder is not None else [root / name for name in _TEXTGRIDS]
    found: dict[str, Path] = {}
    for place in folders:
        for path in sorted(place.glob("*.[Tt]ext[Gg]rid")):
            found.setdefault(path.name.split(".")[0], path)
    return found
