"""A data set that its authors give on request: no address to fetch it from, no known clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...errors import CohortError, some
from ..readers.events import Trial
from .known import KnownDataset


@dataclass(frozen=True)
class RequestedDataset(KnownDataset):
    """A data set of trials that is not published; its task, clock and lengths come from its files.

    Parameters
    ----------
    name, title, accession, tr, task, n_volumes, window, templates, instructions, labeller, note
        See :class:`KnownDataset`. `accession` and `task` are "", `tr` and `n_volumes` 0: not known.
    article : str
        Address of the article by the authors, who have the data.
    people, categories : int
        Numbers of people and of categories that the article names.
    """

    article: str = ""
    people: int = 0
    categories: int = 0

    @property
    def page(self) -> str:
        """Web page of the article."""
        return self.article

    def how_to_fetch(self, subjects: Sequence[str] = ()) -> str:
        """Say whom to ask; `subjects` does not change it."""
        del subjects
        return f"{self.title} is not published: ask the authors of {self.article}"

    def task_in(self, root: Path) -> str:
        """Return the only task with events tables in a BIDS folder.

        Raises
        ------
        CohortError
            There is none, or there are several.
        """
        found = {
            part.removeprefix("task-")
            for pattern in ("sub-*/func/*_events.tsv", "sub-*/ses-*/func/*_events.tsv")
            for path in root.glob(pattern)
            for part in path.name.split("_")
            if part.startswith("task-")
        }
        if len(found) != 1:
            raise CohortError(
                f"plan_study: {root} must hold sub-*/[ses-*/]func/*_events.tsv of one task, got "
                f"{', '.join(sorted(found)) or 'none'}. {self.title} is given on request, and its "
                "layout is not known: bring it into BIDS, with the events of its clips alone."
            )
        return found.pop()

    def check(self, trials: Sequence[Trial]) -> None:
        """Raise unless the trials have the people and categories of the article.

        Raises
        ------
        CohortError
            Their numbers differ; the message names what was found.
        """
        people = sorted({t.subject for t in trials})
        categories = sorted({t.category for t in trials})
        if (len(people), len(categories)) != (self.people, self.categories):
            raise CohortError(
                f"plan_study: {self.title} must have {self.people} people and {self.categories} "
                f"actions, got {len(people)} ({some(people)}) and {len(categories)} "
                f"({some(categories)}). Is it another data set? Any cohort with texts or clips "
                "needs no study: fastbrain prepare SOURCE STORE."
            )
