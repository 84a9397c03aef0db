"""Public data sets of people who listened to stories: which volume heard which word.

A clock that is off by one volume costs more than any decoder wins, and every data set has its own.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..._arguments import checked
from ...errors import CohortError, ConfigError, InputError
from ..readers.word_timings import StorySample, Word, read_words, story_samples


@dataclass(frozen=True)
class StoryDataset:
    """A public data set of stories.

    Parameters
    ----------
    name, title, accession : str
        As one types it, as people say it, and on OpenNeuro.
    tr : float
        Seconds between volumes.
    ahead : int
        Volumes of the stimulus' clock before the first one that was kept.
    behind : int
        Volumes of the stimulus' clock after the last one that was kept.
    onsets : mapping of str to float
        Task to the second after the first volume at which its story begins; empty where every
        story's words are timed from the first volume on.
    note : str
        What one has to know before using it.
    """

    name: str
    title: str
    accession: str
    tr: float
    ahead: int = 0
    behind: int = 0
    onsets: Mapping[str, float] = field(default_factory=dict)
    note: str = ""

    def onset(self, task: str = "") -> float:
        """Seconds after the first volume at which a task's story begins.

        Raises
        ------
        ConfigError
            The data set has no such task.
        """
        if not self.onsets and not task:
            return 0.0
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
        """Cut a story into stretches that count the volumes that were kept.

        Parameters
        ----------
        words : sequence of Word
            Timed as the data set's authors do.
        n_volumes : int
            Volumes of the run that were kept: rows of the responses.
        task : str
            Needed where the onset of a story depends on it.
        onset_s : float, optional
            From the run's own events file (:func:`story_onsets`). Default: the task's.
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
    """LeBel et al. 2023 with another trim than theirs; :func:`story_dataset` has the usual one.

    Parameters
    ----------
    trim : int
        Volumes that the responses lack at either end, beside the five before the story.
    """
    if trim < 0:
        raise InputError(f"lebel: trim must be 0 or more, got {trim}.")
    return StoryDataset(
        name="lebel",
        title="LeBel et al. 2023",
        accession="ds003020",
        tr=2.0,
        # stimulus[5 + trim : -trim] lies on the responses' rows
        ahead=5 + trim,
        behind=trim,
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
    note="Music comes before most stories. One run, slumlordreach, holds two: 'slumlord' and "
    "'reach'. Onsets of 21styear, milkyway, notthefall, pieman, prettymouth, shapes, slumlord, "
    "reach and tunnel are those of the events files; the others are the authors' whole volumes. A "
    "run's own events file is better than any table. Many runs are excluded by the authors.",
)

STORY_DATASETS = {data.name: data for data in (lebel(), NARRATIVES)}


@checked
def story_dataset(name: str) -> StoryDataset:
    """A data set of stories by name, "lebel" (Huth lab) or "narratives".

    Raises
    ------
    ConfigError
        There is none of that name.
    """
    if name not in STORY_DATASETS:
        near = difflib.get_close_matches(name, STORY_DATASETS, n=1)
        hint = f"Did you mean {near[0]!r}?" if near else "Give story_samples your own clock."
        raise ConfigError(
            f"story_dataset: name must be one of {sorted(STORY_DATASETS)}, got {name!r}. {hint}"
        )
    return STORY_DATASETS[name]


@checked
def story_onsets(events: str | Path) -> list[float]:
    """Seconds after the first volume at which stories begin, from a BIDS events file.

    Parameters
    ----------
    events : str or Path
        With ``trial_type`` "story".

    Raises
    ------
    CohortError
        The file cannot be read or names no story.
    """
    rows = read_words(events, column="trial_type", skip=())
    found = [row.onset for row in rows if row.text == "story"]
    if not found:
        raise CohortError(
            f"story_onsets: {events} must have a row of trial_type 'story', got "
            f"{sorted({row.text for row in rows})}."
        )
    return found
