"""Movies and their transcripts of the Algonauts 2025 challenge (CNeuroMod; CC0).

Four people saw seasons 1 to 6 of Friends and four movies (Movie10), in segments of about 12
minutes. Each person has an HDF5 file of each of the two, with an array (T, 1000) for each run:
``ses-003_task-s01e02a`` for the first part of the second episode of the first season,
``ses-001_task-life01_run-1`` for movies that were shown twice. The columns are the parcels of
Schaefer et al. 2018 (1,000 parcels, 7 networks), in the order of the labels of the person's atlas.
Transcripts have a row for each repetition time, also where no one speaks.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from ..._progress import say
from ...errors import CohortError, some
from ..readers.absent import absent_files
from ..readers.entities import entities
from ..readers.events import Trial
from ..readers.hdf5 import Hdf5Array, dataset_names
from ..readers.inside import inside
from ..readers.runs_table import RunRecord, run_id_of
from ..readers.tables import given, read_tsv
from ..readers.trial_windows import WindowSpec
from ..readers.word_timings import Word
from .known import PublicDataset
from .segment_trials import segment_trials
from .story_layouts import HeardStory, StoryRun

_ARRAY = re.compile(r"ses-(\d+)_task-((?:s(\d+)e\d+[a-z]?)|(?:([a-z]+)\d+))(?:_run-(\d+))?")
_PROMPT_TRS = 3
_FETCH = "Fetch them: datalad get fmri/*/func fmri/*/atlas stimuli/transcripts"


@dataclass(frozen=True)
class MovieDataset(PublicDataset):
    """A public data set of movies with transcripts, and an HDF5 file of parcels a person.

    Parameters
    ----------
    name, title, accession, tr
        See :class:`PublicDataset`. `accession` is the address of the repository.
    note : str
        Facts to know before using the data set.
    """

    note: str = ""

    @property
    def page(self) -> str:
        """Web page of the data set."""
        return self.accession

    def how_to_fetch(self, subjects: Sequence[str] = ()) -> str:
        """Return the commands that download series, atlases and transcripts."""
        people = [f"fmri/sub-{s}" for s in subjects] or ["fmri"]
        return (
            f"{self.title}: 'datalad install -r -s {self.page}.git' and in it "
            f"'datalad get {' '.join(people)} stimuli/transcripts'"
        )

    def runs(
        self,
        root: str | Path,
        *,
        task: str | None = None,
        atlas: bool = True,
        missing: Literal["error", "drop"] = "error",
        allow_outside: bool = False,
    ) -> tuple[RunRecord, ...]:
        """Find the runs in ``fmri/sub-*/func/*_bold.h5``; no values are read.

        Parameters
        ----------
        root : str or Path
        task : str, optional
            "friends" or "movie10"; default: both.
        atlas : bool
            Whether names and positions of the parcels come from ``fmri/sub-*/atlas``.
        missing : {"error", "drop"}
            What happens to files of people that were not fetched; dropped ones are listed.
        allow_outside : bool
            Whether files may be links that lead out of `root`.

        Returns
        -------
        tuple of RunRecord

        Raises
        ------
        CohortError
            A file is absent, leads out of `root`, or has an array of another name.
        VolumeError
            A file is no HDF5 file.
        MissingPartError
            h5py is not installed.
        """
        root = Path(root)
        files = sorted(root.glob("fmri/sub-*/func/*_bold.h5"))
        chosen = [p for p in files if task in (None, entities(p).get("task"))]
        if not chosen:
            known = sorted({entities(p).get("task", "") for p in files})
            raise CohortError(
                f"{self.name}: {root} must hold fmri/sub-*/func/*_bold.h5"
                + (f" of the task {task}" if task else "")
                + f", got {some(known) if known else 'none'}. {self.how_to_fetch()}."
            )
        atlases = {p: _atlas_of(p) for p in chosen} if atlas else {}
        absent = absent_files([*chosen, *dict.fromkeys(atlases.values())])
        gone = {*absent.missing, *absent.links}
        there = [p for p in chosen if p not in gone and atlases.get(p) not in gone]
        if gone and (missing == "error" or not there):
            raise CohortError(
                f"{self.name}: {root} must hold the series and atlas of each person, got {absent}. "
                f"{_FETCH}, or leave them out (--missing drop)."
            )
        if gone:
            say(f"note: left out: {absent}")
        if not allow_outside:
            for path in (*there, *(atlases[p] for p in there if atlas)):
                inside(root, path.relative_to(root).as_posix(), what=f"{self.name}: {path}")
        return tuple(
            self._run(root, path, array, atlases.get(path))
            for path in there
            for array in dataset_names(path)
        )

    def _run(self, root: Path, path: Path, array: str, atlas: Path | None) -> RunRecord:
        found = _ARRAY.fullmatch(array)
        tags = entities(path)
        if found is None or "sub" not in tags:
            raise CohortError(
                f"{self.name}: {path} must have arrays named as ses-001_task-s01e02a or "
                f"ses-001_task-life01_run-1, got {array!r}. Is it the file of the challenge?"
            )
        session, segment, _, _, again = found.groups()
        run = segment + (f"run{again}" if again else "")
        return RunRecord(
            run_id=run_id_of(tags["sub"], session, run),
            subject=tags["sub"],
            session=session,
            run=run,
            bold=path,
            events=None,
            tr=self.tr,
            root=root,
            space=tags.get("space", ""),
            parcels=atlas,
            dataset=array,
        )

    def trials(
        self,
        runs: Sequence[RunRecord],
        root: str | Path,
        window: WindowSpec,
        *,
        allow_outside: bool = False,
    ) -> list[Trial]:
        """Cut the movies into segments of as many volumes as a window has, with their words.

        The text of a trial is what is said in its segment, its prompt what is said in the three
        volumes before; its window begins `delay_s` after the segment. The story is the season or
        the movie. Segments without words, and windows that leave the run, are left out.

        Parameters
        ----------
        runs : sequence of RunRecord
            From :meth:`runs`.
        root : str or Path
        window : WindowSpec
        allow_outside : bool
            Whether files may be links that lead out of `root`.

        Returns
        -------
        list of Trial

        Raises
        ------
        CohortError
            A transcript is absent, lacks a column, or has a row at another time.
        """
        root = Path(root)
        paths = {run.run_id: root / _transcript(run) for run in runs}
        absent = absent_files(dict.fromkeys(paths.values()))
        if len(absent):
            raise CohortError(
                f"{self.name}: {root} must hold the transcript of each run, got {absent}. {_FETCH}."
            )
        words: dict[Path, tuple[Word, ...]] = {}
        for path in dict.fromkeys(paths.values()):
            if not allow_outside:
                inside(root, path.relative_to(root).as_posix(), what=f"{self.name}: {path}")
            words[path] = self._words(path)
        found: list[Trial] = []
        for run in runs:
            path = paths[run.run_id]
            said = words[path]
            if not said:  # a part of a movie without speech
                continue
            heard = HeardStory(_story(run), path.stem, said, 0.0, said[-1].offset)
            found += segment_trials(
                StoryRun(run, (heard,)),
                self,
                window,
                segment=window.window_trs,
                prompt=_PROMPT_TRS,
                n_volumes=Hdf5Array.open(run.bold, run.dataset, np.asarray).shape[0],
            )
        return found

    def _words(self, path: Path) -> tuple[Word, ...]:
        """Read what is said in each repetition time, as one word."""
        columns, rows = read_tsv(path)
        missing = [name for name in ("text_per_tr", "onsets_per_tr") if name not in columns]
        if missing:
            raise CohortError(
                f"{self.name}: {path} must have the columns text_per_tr and onsets_per_tr, got "
                f"{columns}."
            )
        words = []
        for row in rows:
            text = given(row, "text_per_tr", spoken=True)
            # by its line, as rows without words may be blank
            number = row.line - 2
            first = re.search(r"\d+(?:\.\d+)?", row["onsets_per_tr"])
            if first is not None and float(first[0]) >= (number + 1.5) * self.tr:
                raise CohortError(
                    f"{self.name}: {row.where} must hold words of the {self.tr:g} s from "
                    f"{number * self.tr:.2f} s on, got one from {first[0]} s on. Is a row missing?"
                )
            if text:
                words.append(Word(text, number * self.tr, (number + 1) * self.tr))
        return tuple(words)


def _atlas_of(path: Path) -> Path:
    """Find the label image of the parcels of a file."""
    names = sorted((path.parent.parent / "atlas").glob("*_desc-dseg_parcellation.nii.gz"))
    if len(names) == 1:
        return names[0]
    return path.parent.parent / "atlas" / f"{path.name.split('_')[0]}_desc-dseg_parcellation.nii.gz"


def _segment(run: RunRecord) -> re.Match[str]:
    found = _ARRAY.fullmatch(run.dataset)
    if found is None:
        raise CohortError(
            f"transcript: {run.run_id} must be a run of the challenge, got the array "
            f"{run.dataset!r}. Find the runs with --dataset."
        )
    return found


def _story(run: RunRecord) -> str:
    found = _segment(run)
    return found[4] or f"s{found[3]}"


def _transcript(run: RunRecord) -> str:
    found = _segment(run)
    segment, season, movie = found[2], found[3], found[4]
    if movie:
        return f"stimuli/transcripts/movie10/{movie}/movie10_{segment}.tsv"
    return f"stimuli/transcripts/friends/s{int(season)}/friends_{segment}.tsv"


ALGONAUTS2025 = MovieDataset(
    name="algonauts2025",
    title="Algonauts 2025 (CNeuroMod)",
    accession="https://github.com/courtois-neuromod/algonauts_2025.competitors",
    tr=1.49,
    note="names and positions of parcels come from the atlas of each person, by number; names of "
    "your own by --parcels TABLE. Parts of one season or movie belong together: split by story. "
    "The series are z-scores, which have no percent signal change.",
)
