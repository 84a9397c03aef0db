"""What a published data set needs to be told about itself: clock, windows, labels, where it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..readers.events import WindowSpec

Row = Mapping[str, str]


@dataclass(frozen=True)
class Label:
    """What an events row says was shown.

    Parameters
    ----------
    stimulus : str
        Equal names are the same stimulus.
    category : str
        Class of the stimulus.
    name : str
        The class as it stands in a sentence ("doing archery", "a tench"), "" where there is none.
    captions : tuple of str
        Sentences that people wrote about this very stimulus.
    clip : str
        Its file below ``stimuli/``, "" where there is none.
    """

    stimulus: str
    category: str
    name: str = ""
    captions: tuple[str, ...] = ()
    clip: str = ""


@dataclass(frozen=True)
class KnownDataset:
    """A public data set.

    Parameters
    ----------
    name, title : str
        As the command line knows it, and as people do.
    accession : str
        On OpenNeuro.
    task : str
        BIDS task.
    tr : float
        Seconds between volumes.
    n_volumes : int
        Length of every run.
    window : WindowSpec
        Of a trial; its onset offset is the data set's own.
    templates : tuple of str
        Sentences with ``{}`` for the class name.
    instructions : tuple of str
        One is drawn for each record.
    labeller : callable
        ``labeller(folders)`` finds the files that explain the events and returns a function from
        an events row to its :class:`Label`.
    note : str
        What one has to know before using it.
    """

    name: str
    title: str
    accession: str
    task: str
    tr: float
    n_volumes: int
    window: WindowSpec
    templates: tuple[str, ...]
    instructions: tuple[str, ...]
    labeller: Callable[[Sequence[Path]], Callable[[Row], Label]] = field(repr=False)
    note: str = ""

    @property
    def page(self) -> str:
        """Where people read about it."""
        return f"https://openneuro.org/datasets/{self.accession}"

    def how_to_fetch(self, subjects: Sequence[str] = ()) -> str:
        """Commands that bring the images, of these subjects or of all.

        Parameters
        ----------
        subjects : sequence of str
            Labels without ``sub-``.

        Returns
        -------
        str
            One sentence.
        """
        folders = [f"sub-{s}/" for s in subjects]
        include = " ".join(f"--include '{folder}*'" for folder in folders)
        return (
            f"{self.title} is OpenNeuro {self.accession} ({self.page}): "
            f"'datalad clone https://github.com/OpenNeuroDatasets/{self.accession}.git' and in it "
            f"'datalad get {' '.join(folders) or '.'}', or "
            f"'openneuro-py download --dataset {self.accession}{' ' if include else ''}{include}'"
        )
