"""Plan a study of a public data set of stories: segments of words, prompts, windows and split."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ..._arguments import checked
from ...errors import ConfigError, some
from ..readers.events import Trial
from ..readers.trial_windows import WindowSpec
from ..splits.split import Split, made_split
from .segment_trials import segment_trials
from .stories import StoryDataset, story_dataset
from .story_layouts import Clock, StoryRun, Where, lebel_runs, narratives_runs
from .study import Study


@checked(error=ConfigError, least={"segment_trs": 1, "prompt_trs": 0, "window_trs": 1})
def plan_stories(
    root: str | Path,
    dataset: StoryDataset | str,
    *,
    split: Callable[[list[Trial]], Split],
    segment_trs: int = 4,
    prompt_trs: int = 3,
    window_trs: int = 4,
    delay_s: float | None = None,
    stories: Sequence[str] = (),
    subjects: Sequence[str] = (),
    clock: Clock = "story",
    words: str | Path | None = None,
    images: str | Path | None = None,
    space: str | None = None,
    allow_outside: bool = False,
    chosen: Mapping[str, str | None] | None = None,
) -> Study:
    """Plan a study of stories from their published layout; no voxel is read.

    A story is cut into segments of `segment_trs` volumes. The text of a trial is the words of its
    segment, its prompt the words of the `prompt_trs` volumes before, and its window the
    `window_trs` volumes that begin `delay_s` after the segment does (BrainLLM: the four volumes
    after the segment). Windows that leave the image are left out; while an image is absent, those
    that end after its story.

    Parameters
    ----------
    root : str or Path
        Narratives (ds002345): events files and ``stimuli/gentle/STORY/align.csv``. LeBel et al.
        (ds003020): images ``sub-*/ses-*/func/*_task-STORY_bold.nii.gz`` and
        ``derivative/TextGrids/STORY.TextGrid``.
    dataset : StoryDataset or str
        "narratives" or "lebel".
    split : callable
        Function that makes the split from the trials, for instance :func:`split_story_blocks`.
    segment_trs, prompt_trs, window_trs : int
    delay_s : float, optional
        Seconds from the start of a segment to its window. Default: the length of the segment.
    stories, subjects : sequence of str
        Stories (tasks) and people to keep. Default: all.
    clock : {"story", "audio"}
        Narratives: start of the alignments, the story or the first row of the events.
    words : str or Path, optional
        LeBel et al.: folder of the TextGrids.
    images : str or Path, optional
        Folder of preprocessed images; default `root`.
    space, allow_outside, chosen
        As in :func:`fastbrain.data.plan_study`.

    Returns
    -------
    Study
        Its surrogates are empty.

    Raises
    ------
    CohortError, SplitError, LeakError
        An input is invalid; the message names it.
    ConfigError
        A story or person does not occur, an option is out of range, or `clock` or `words` is given
        for the other data set.
    """
    dataset = story_dataset(dataset) if isinstance(dataset, str) else dataset
    textgrids = dataset.name == "lebel"
    if clock != "story" if textgrids else words is not None:
        odd = f"clock {clock!r}" if textgrids else f"words {words}"
        raise ConfigError(
            f"plan_stories: {odd.split()[0]} must be left out for {dataset.title}, got {odd}. It "
            f"is for {'alignments of Narratives' if textgrids else 'TextGrids of LeBel et al.'}."
        )
    folder = Path(root)
    where = Where(
        folder, Path(images) if images is not None else folder, space, allow_outside, chosen or {}
    )
    if textgrids:
        found = lebel_runs(
            dataset, where, stories=stories, words=Path(words) if words is not None else None
        )
    else:
        found = narratives_runs(dataset, where, stories=stories, clock=clock)
    found = _of_people(found, subjects)
    _check_stories(found, stories, dataset)
    delay = segment_trs * dataset.tr if delay_s is None else delay_s
    spec = WindowSpec(delay_s=delay, window_trs=window_trs)
    trials = [
        trial
        for one in found
        for trial in segment_trials(one, dataset, spec, segment=segment_trs, prompt=prompt_trs)
    ]
    parts = made_split(split, trials, function="plan_stories")
    return Study(dataset, folder, tuple(one.run for one in found), trials, parts, spec, ())


def _of_people(found: list[StoryRun], subjects: Sequence[str]) -> list[StoryRun]:
    wanted = {name.removeprefix("sub-") for name in subjects}
    people = {one.run.subject for one in found}
    if wanted - people:
        raise ConfigError(
            f"plan_stories: subjects must be among {some(sorted(people))}, got "
            f"{some(sorted(wanted - people))}."
        )
    return [one for one in found if not wanted or one.run.subject in wanted]


def _check_stories(found: list[StoryRun], stories: Sequence[str], dataset: StoryDataset) -> None:
    known = {name for one in found for told in one.stories for name in (told.story, told.version)}
    unknown = [s for s in stories if s not in known and dataset.same.get(s, s) not in known]
    if unknown:
        raise ConfigError(
            f"plan_stories: stories must be among {some(sorted(known))}, got {some(unknown)}."
        )
