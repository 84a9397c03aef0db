"""Runs that a BIDS tree announces by their events, whether or not their images are there yet."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .._arguments import checked
from ..errors import CohortError
from . import bids
from .cohort import RunRecord, check_unique, label_of, run_id_of, some

_EVENTS = "_events.tsv"
# git-annex writes a file's size into the name of its key
_ANNEX_BYTES = re.compile(r"-s(\d+)-")


@dataclass(frozen=True)
class Absent:
    """Images that a cohort names and the disk does not have.

    Parameters
    ----------
    missing, links : tuple of Path
        Not there at all; links of git-annex or DataLad to data that was not fetched.
    nbytes : int
        Size of the latter, where the links tell it.
    """

    missing: tuple[Path, ...]
    links: tuple[Path, ...]
    nbytes: int

    def __len__(self) -> int:
        return len(self.missing) + len(self.links)

    def __str__(self) -> str:
        parts = []
        if self.missing:
            parts.append(f"{len(self.missing)} do not exist: {some(list(self.missing))}")
        if self.links:
            size = f" ({self.nbytes / 1e9:.1f} GB)" if self.nbytes else ""
            told = some(list(self.links))
            parts.append(f"{len(self.links)} are links to data not fetched{size}: {told}")
        return "; ".join(parts) or "none"


@checked
def announced_runs(
    root: str | Path,
    *,
    task: str,
    images: str | Path | None = None,
    space: str | None = None,
) -> tuple[RunRecord, ...]:
    """Find the runs of a task by their events files; images may be absent.

    Parameters
    ----------
    root : str or Path
        BIDS folder with ``sub-*`` folders, where the events are.
    task : str
    images : str or Path, optional
        Folder with ``sub-*`` folders of preprocessed images; default `root`.
    space : str, optional
        Of the images.

    Returns
    -------
    tuple of RunRecord
        Ordered by subject, session, run. `bold` of an absent image is where it is expected.

    Raises
    ------
    CohortError
        No run is announced, a run has several images, or a sidecar is damaged.
    """
    root = Path(root)
    folder = root if images is None else Path(images)
    events = [
        (path, bids.entities(path))
        for pattern in (f"sub-*/func/*{_EVENTS}", f"sub-*/ses-*/func/*{_EVENTS}")
        for path in sorted(root.glob(pattern))
    ]
    events = [(path, tags) for path, tags in events if tags.get("task") == task]
    if not events:
        raise CohortError(
            f"announced_runs: {root} must hold sub-*/[ses-*/]func/*_task-{task}_*{_EVENTS}, got "
            "none. Is it the folder of the data set?"
        )
    people = bids.participants(root)
    found = _images(folder, task, space)
    records = []
    for path, tags in events:
        expected = _expected(path, root, folder, space)
        bold = _choose(expected, tags, found.get(tags.get("sub", ""), []))
        own = bids.entities(bold)
        there = os.path.lexists(bold)
        subject = label_of(tags.get("sub", ""), "sub-", where=f"{path} subject")
        run, session = tags.get("run", "1"), tags.get("ses", "")
        raw = path.with_name(path.name.removesuffix(_EVENTS) + "_bold.nii.gz")
        record = RunRecord(
            run_id=run_id_of(subject, session, run),
            subject=subject,
            session=session,
            run=run,
            bold=bold,
            events=path,
            mask=bids.mask_of(folder, bold, own) if there else None,
            confounds=bids.confounds_of(folder, bold, own) if there else None,
            tr=bids.stated_tr(root, raw, tags),
            root=root,
            **people.get(subject, {}),
        )
        records.append(record)
    ordered = tuple(sorted(records, key=bids.natural))
    check_unique(root, ordered)
    return ordered


@checked
def absent_images(runs: Iterable[RunRecord]) -> Absent:
    """Images of runs that are not on disk."""
    missing, links, nbytes = [], [], 0
    for run in runs:
        if run.bold.is_file():
            continue
        if run.bold.is_symlink():
            links.append(run.bold)
            size = _ANNEX_BYTES.search(Path(os.readlink(run.bold)).name)
            nbytes += int(size.group(1)) if size else 0
        else:
            missing.append(run.bold)
    return Absent(tuple(missing), tuple(links), nbytes)


def _images(
    folder: Path, task: str, space: str | None
) -> dict[str, list[tuple[Path, dict[str, str]]]]:
    """Images of a task by subject."""
    found: dict[str, list[tuple[Path, dict[str, str]]]] = {}
    for pattern in ("*_bold.nii.gz", "*_bold.nii"):
        for path in sorted(folder.glob(f"sub-*/**/{pattern}")):
            tags = bids.entities(path)
            if tags.get("task") == task and (space is None or tags.get("space") == space):
                found.setdefault(tags.get("sub", ""), []).append((path, tags))
    return found


def _choose(
    expected: Path, tags: dict[str, str], candidates: Sequence[tuple[Path, dict[str, str]]]
) -> Path:
    fitting = [path for path, own in candidates if _same_run(own, tags)]
    if len(fitting) > 1:
        raise CohortError(
            f"announced_runs: {expected.name} must be one image, got {some(fitting)}. "
            "Choose by space=."
        )
    return fitting[0] if fitting else expected


def _same_run(image: dict[str, str], events: dict[str, str]) -> bool:
    """Whether they agree in all they both say; "run-1" is "run-01"."""
    return all(
        _number(image[key]) == _number(events[key])
        for key in ("sub", "ses", "run")
        if key in image and key in events
    )


def _number(label: str) -> str:
    return label.lstrip("0") or "0"


def _expected(events: Path, root: Path, folder: Path, space: str | None) -> Path:
    stem = events.name.removesuffix(_EVENTS)
    derived = "" if folder == root and space is None else "_desc-preproc"
    of_space = f"_space-{space}" if space else ""
    return folder / events.parent.relative_to(root) / f"{stem}{of_space}{derived}_bold.nii.gz"
