"""Public data sets of people listening to stories: assign words to volumes.

Every data set has its own clock, and an error of one volume costs more than a better decoder gains.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..._arguments import checked
from ...errors import CohortError, ConfigError, InputError
from ..readers.word_timings import StorySample, Word, read_words, story_samples
from .known import PublicDataset, dataset_named


@dataclass(frozen=True)
class StoryDataset(PublicDataset):
    """A public data set of stories.

    Parameters
    ----------
    name, title, accession, tr
        See :class:`PublicDataset`.
    ahead : int
        Volumes on the clock of the stimulus before the first one that was kept.
    behind : int
        Volumes on the clock of the stimulus after the last one that was kept.
    start_s : float
        Start of every story in seconds after the first volume, where `onsets` is empty.
    onsets : mapping of str to float
        Start of the story of each task, in seconds after the first volume.
    same : mapping of str to str
        Story of each task that is not named like its story: versions of one story share it, so
        that a split keeps them together.
    note : str
        Facts to know before using the data set.
    """

    ahead: int = 0
    behind: int = 0
    start_s: float = 0.0
    onsets: Mapping[str, float] = field(default_factory=dict)
    same: Mapping[str, str] = field(default_factory=dict)
    note: str = ""

    def onset(self, task: str = "") -> float:
        """Return the start of the story of a task, in seconds after the first volume.

        Raises
        ------
        ConfigError
            The data set has no such task.
        """
        if not self.onsets:
            return self.start_s
        if task not in self.onsets:
            near = difflib.get_close_matches(task, self.onsets, n=1)
            hint = f"Did you mean {near[0]!r}?" if near else "Read the run's own events file."
            raise ConfigError(
                f"StoryDataset: task must be one of {self.title}'s {sorted(self.onsets)}, got "
                f"{task!r}. {hint}"
            )
        return self.onsets[task]

    def samples(
        self,
        words: Sequence[Word],
        *,
        n_volumes: int,
        task: str = "",
        onset_s: float | None = None,
        window: int = 4,
        step: int | None = None,
        prompt: int = 3,
    ) -> list[StorySample]:
        """Cut a story into samples, with volumes counted from the first one that was kept.

        Parameters
        ----------
        words : sequence of Word
            Words in seconds after the start of the story, as in the authors' files.
        n_volumes : int
            Volumes of the run that were kept: rows of the responses.
        task : str
            Required if `onsets` is not empty and `onset_s` is not given.
        onset_s : float, optional
            Onset from the events file of the run (:func:`story_onsets`). Default: the task's.
        window, step, prompt : int
            As in :func:`fastbrain.data.story_samples`.

        Returns
        -------
        list of StorySample
        """
        found = story_samples(
            words,
            tr=self.tr,
            n_volumes=n_volumes + self.ahead + self.behind,
            window=window,
            step=step,
            prompt=prompt,
            onset_s=self.onset(task) if onset_s is None else onset_s,
            trim=(self.ahead, self.behind),
        )
        return [replace(s, start=s.start - self.ahead, stop=s.stop - self.ahead) for s in found]


def lebel(trim: int = 5) -> StoryDataset:
    """Return the data set of LeBel et al. 2023 with a given trim; the default is the published one.

    Parameters
    ----------
    trim : int
        Volumes missing in the responses at either end, in addition to the five before the story.
    """
    if trim < 0:
        raise InputError(f"lebel: trim must be 0 or more, got {trim}.")
    return StoryDataset(
        name="lebel",
        title="LeBel et al. 2023",
        accession="ds003020",
        tr=2.0,
        # the sound begins 10 s after the first volume, and TextGrids count from the sound; of the
        # volumes, [5 + trim : -(5 + trim)] are the rows of the responses
        ahead=5 + trim,
        behind=trim,
        start_s=10.0,
        note="'wheretheressmoke' is stored as repeats: their mean has less noise than any trial. "
        "The TextGrids have no punctuation.",
    )


NARRATIVES = StoryDataset(
    name="narratives",
    title="Narratives",
    accession="ds002345",
    tr=1.5,
    onsets={
        "21styear": 21.0,
        "black": 12.0,
        "bronx": 12.0,
        "forgot": 12.0,
        "lucy": 1.5,
        "merlin": 33.0,
        "milkyway": 21.0,
        "notthefallintact": 29.5,
        "notthefalllongscram": 29.5,
        "notthefallshortscram": 29.5,
        "pieman": 15.0,
        "piemanpni": 12.0,
        "prettymouth": 21.0,
        "shapesphysical": 49.5,
        "shapessocial": 49.5,
        "sherlock": 33.0,
        "slumlord": 29.5,
        "reach": 969.5,
        "tunnel": 3.0,
    },
    same={
        "piemanpni": "pieman",
        "notthefallintact": "notthefall",
        "notthefalllongscram": "notthefall",
        "notthefallshortscram": "notthefall",
    },
    note="Music comes before most stories. One run, slumlordreach, holds two: 'slumlord' and "
    "'reach'. Onsets of 21styear, milkyway, notthefall, pieman, prettymouth, shapes, slumlord, "
    "reach and tunnel are those of the events files; the others are the authors' whole volumes. A "
    "run's own events file is better than any table. Many runs are excluded by the authors.",
)

STORY_DATASETS = {data.name: data for data in (lebel(), NARRATIVES)}


@checked
def story_dataset(name: str) -> StoryDataset:
    """Return a data set of stories by name, "lebel" (Huth lab) or "narratives".

    Raises
    ------
    ConfigError
        There is no data set with that name.
    """
    otherwise = "Give story_samples your own clock."
    return dataset_named("story_dataset", name, STORY_DATASETS, otherwise)


@checked
def story_onsets(events: str | Path) -> list[float]:
    """Read story onsets from a BIDS events file, in seconds after the first volume.

    Parameters
    ----------
    events : str or Path
        Table with rows of ``trial_type`` "story".

    Raises
    ------
    CohortError
        The file cannot be read or has no row of a story.
    """
    rows = read_words(events, column="trial_type", skip=())
    found = [row.onset for row in rows if row.text == "story"]
    if not found:
        raise CohortError(
            f"story_onsets: {events} must have a row of trial_type 'story', got "
            f"{sorted({row.text for row in rows})}."
        )
    return found
