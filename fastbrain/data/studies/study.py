"""Study folder of a public data set: runs, trials, target texts and split, without images."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path

from ..._arguments import checked
from ..._digests import read_sealed, write_sealed
from ..._io import folder_atomic, read_json, sha256, verify, write_json
from ..._rules import exact_record_of, number, positive, text
from ...errors import CohortError
from ..readers.absent import Absent, absent_images
from ..readers.events import Trial
from ..readers.runs_table import RunRecord, read_runs_table, write_runs_table
from ..readers.trial_windows import WindowSpec
from ..splits.split import Split
from ..store.trials_table import read_trials_table, write_trials_table
from .annotation import Surrogate, read_surrogates, write_surrogates
from .catalog import public_dataset
from .known import PublicDataset

DESCRIPTION, _LAYOUT = "study.json", 2  # 2: the file contains its own digest
_FILES = ("runs.tsv", "trials.parquet", "surrogates.jsonl", "split.json")
_WINDOW = {"delay_s": number, "window_trs": positive, "onset_offset_s": number}
_described = exact_record_of(
    {
        "layout": lambda value: value == _LAYOUT,
        "dataset": text,
        "root": text,
        "window": exact_record_of(_WINDOW),
        "files": exact_record_of(dict.fromkeys(_FILES, text)),
    }
)


@dataclass(frozen=True, eq=False)
class Study:
    """A planned cohort: everything except its images.

    Parameters
    ----------
    dataset : PublicDataset
    root : Path
        BIDS folder.
    runs : tuple of RunRecord
        Runs; images may be absent.
    trials : list of Trial
        Trials, with the surrogates as texts.
    split : Split
    window : WindowSpec
    surrogates : tuple of Surrogate
        One per trial: its text and the origin of the text. Empty for stories, with words from
        transcripts.
    """

    dataset: PublicDataset
    root: Path
    runs: tuple[RunRecord, ...]
    trials: list[Trial]
    split: Split
    window: WindowSpec
    surrogates: tuple[Surrogate, ...]

    @property
    def absent(self) -> Absent:
        """Images that are not on disk."""
        return absent_images(self.runs)

    def check_images(self) -> None:
        """Raise if images are absent.

        Raises
        ------
        CohortError
            Images are absent; the message counts and names them and gives the download commands.
        """
        absent = self.absent
        if not len(absent):
            return
        gone = {*absent.missing, *absent.links}
        subjects = list(dict.fromkeys(r.subject for r in self.runs if r.bold in gone))
        complete = len(subjects) == len({r.subject for r in self.runs})
        raise CohortError(
            f"study: the images of all {len(self.runs)} runs must be there, got {len(absent)} "
            f"absent: {absent}. {self.dataset.how_to_fetch(() if complete else subjects)}."
        )

    @checked
    def save(self, folder: str | Path) -> Path:
        """Write the study as a folder, atomically.

        Parameters
        ----------
        folder : str or Path
            New folder.

        Raises
        ------
        OutputExistsError
            `folder` exists.
        CohortError
            The study cannot be read back unchanged: a trial of an unknown run, a run id that does
            not follow from subject, session and run, or an unknown data set.
        SplitError, LeakError
            The split does not fit the trials.
        """
        self.split.check(self.trials)
        with folder_atomic(folder, function="Study.save") as temporary:
            write_runs_table(temporary / "runs.tsv", self.runs)
            write_trials_table(temporary / "trials.parquet", self.trials)
            write_surrogates(temporary / "surrogates.jsonl", self.surrogates)
            write_json(temporary / "split.json", self.split.to_json())
            description = {
                "layout": _LAYOUT,
                "dataset": self.dataset.name,
                "root": str(self.root.resolve()),
                "window": asdict(self.window),
                "files": {name: sha256(temporary / name) for name in _FILES},
            }
            write_sealed(temporary / DESCRIPTION, description)
            _check_same(self, Study.load(temporary))
        return Path(folder)

    @classmethod
    @checked
    def load(cls, folder: str | Path) -> Study:
        """Read a study.

        Raises
        ------
        CohortError
            A file is missing, damaged or was edited.
        """
        folder = Path(folder)
        said = read_sealed(folder / DESCRIPTION, error=CohortError)
        if not _described(said):
            raise CohortError(
                f"Study.load: {folder / DESCRIPTION} must be of layout {_LAYOUT} and list "
                f"{', '.join(_FILES)}, got another or a damaged file. Plan the study again."
            )
        verify(folder, said["files"], error=CohortError)
        root = Path(said["root"])
        runs = read_runs_table(folder / "runs.tsv", allow_outside=True, must_exist=False)
        return cls(
            dataset=public_dataset(said["dataset"]),
            root=root,
            runs=tuple(replace(run, root=root) for run in runs),
            trials=read_trials_table(folder / "trials.parquet"),
            split=Split.from_json(read_json(folder / "split.json")),
            window=WindowSpec(**said["window"]),
            surrogates=tuple(read_surrogates(folder / "surrogates.jsonl")),
        )


def _check_same(ours: Study, back: Study) -> None:
    def of_runs(study: Study) -> list[tuple[object, ...]]:
        return [(r.run_id, r.family, r.site, r.tr, r.start_time, r.n_volumes) for r in study.runs]

    unknown = {t.run_id for t in ours.trials} - {r.run_id for r in ours.runs}
    same = (
        of_runs(ours) == of_runs(back)
        and (ours.trials, ours.split, ours.window) == (back.trials, back.split, back.window)
        and not unknown
    )
    if not same:
        raise CohortError(
            "Study.save: study must be what its files give back, got other runs, trials or parts"
            f"{f' and trials of the unknown runs {sorted(unknown)[:3]}' if unknown else ''}. Name "
            "runs as sub-LABEL_ses-LABEL_run-LABEL, and leave blanks around labels out."
        )


def is_study(folder: str | Path) -> bool:
    """Return whether a folder contains the ``study.json`` of :meth:`Study.save`."""
    return (Path(folder) / DESCRIPTION).is_file()
