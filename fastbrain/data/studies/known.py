"""Description of a published data set: clock, windows, labels and download location."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from ...errors import CohortError, ConfigError
from ..readers.recordings import open_recording
from ..readers.runs_table import RunRecord
from ..readers.timing import TR_TOLERANCE_S
from ..readers.trial_windows import WindowSpec

Row = Mapping[str, str]


@dataclass(frozen=True)
class Label:
    """The stimulus described by an events row.

    Parameters
    ----------
    stimulus : str
        Name of the stimulus; equal names are the same stimulus.
    category : str
        Class of the stimulus.
    name : str
        The class as it is used in a sentence ("doing archery", "a tench"), "" if there is none.
    captions : tuple of str
        Human captions of this stimulus.
    clip : str
        File of the stimulus below ``stimuli/``, "" if there is none.
    """

    stimulus: str
    category: str
    name: str = ""
    captions: tuple[str, ...] = ()
    clip: str = ""


@dataclass(frozen=True)
class PublicDataset:
    """A public data set on OpenNeuro.

    Parameters
    ----------
    name, title : str
        Name on the command line, and name in texts.
    accession : str
        Accession number.
    tr : float
        Seconds between volumes.
    """

    name: str
    title: str
    accession: str
    tr: float

    @property
    def page(self) -> str:
        """Web page of the data set."""
        return f"https://openneuro.org/datasets/{self.accession}"

    def how_to_fetch(self, subjects: Sequence[str] = ()) -> str:
        """Return the commands that download the images, of these subjects or of all.

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


@dataclass(frozen=True)
class KnownDataset(PublicDataset):
    """A public data set of trials, each with a stimulus.

    Parameters
    ----------
    name, title, accession, tr
        See :class:`PublicDataset`.
    task : str
        BIDS task.
    n_volumes : int
        Length of every run; 0 if runs differ.
    window : WindowSpec
        Window of a trial, with the onset offset of the data set.
    templates : tuple of str
        Sentences with ``{}`` for the class name.
    instructions : tuple of str
        One is drawn for each record.
    labeller : callable
        ``labeller(folders)`` finds the label files and returns a function from an events row to
        its :class:`Label`.
    note : str
        Facts to know before using the data set.
    ignore : tuple of str
        Trial types that are not trials.
    """

    task: str
    n_volumes: int
    window: WindowSpec
    templates: tuple[str, ...]
    instructions: tuple[str, ...]
    labeller: Callable[[Sequence[Path]], Callable[[Row], Label]] = field(repr=False)
    note: str = ""
    ignore: tuple[str, ...] = ()

    def clock_of(self, run: RunRecord) -> tuple[float, int]:
        """Return repetition time and length of a run.

        The length is that of the data set; if runs differ, that of the sidecar or of the image.

        Raises
        ------
        CohortError
            The repetition time is not that of the data set, or nothing states the length.
        """
        tr, n_volumes = run.tr, self.n_volumes or run.n_volumes
        if not self.tr or n_volumes is None:
            tr, n_volumes = self._clock_of_files(run, n_volumes)
        tr = self.tr if tr is None else tr
        if self.tr and abs(tr - self.tr) > TR_TOLERANCE_S:
            raise CohortError(
                f"plan_study: {run.run_id} must have the repetition time of {self.title}, "
                f"{self.tr:g} s, got {tr:g} s."
            )
        return tr, n_volumes

    def _clock_of_files(self, run: RunRecord, n_volumes: int | None) -> tuple[float, int]:
        tr = run.tr
        if (tr is None or n_volumes is None) and run.bold.is_file():
            volumes = open_recording(run)
            tr, n_volumes = volumes.tr, volumes.shape[0]
        if tr is None or n_volumes is None:
            raise CohortError(
                f"plan_study: {run.run_id} must have its image or a sidecar with VolumeTiming, got "
                f"neither ({run.bold}). The clock of {self.title} is not published."
            )
        return tr, n_volumes


D = TypeVar("D")


def dataset_named(function: str, name: str, known: Mapping[str, D], otherwise: str) -> D:
    """Return a data set by name; the error suggests the closest name, or else `otherwise`.

    Raises
    ------
    ConfigError
        There is no data set with that name.
    """
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"Did you mean '{near[0]}'?" if near else otherwise
        raise ConfigError(f"{function}: name must be one of {sorted(known)}, got '{name}'. {hint}")
    return known[name]
