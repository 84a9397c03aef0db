"""Runs of a BIDS tree: entities from file names, sidecars inherited from the root down."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from .._arguments import checked
from .._io import read_json, safe_join
from ..errors import CohortError
from .cohort import (
    RunRecord,
    check_files,
    check_unique,
    given,
    label_of,
    read_tsv,
    run_id_of,
    seconds_of,
)

_ENTITY = re.compile(r"([a-z]+)-([A-Za-z0-9+]+)")
_BOLD = ("_bold.nii.gz", "_bold.nii")
# what a preprocessed image adds to the name of the run it came from
_DERIVED = ("space", "desc", "res", "den")
# field of a run -> the columns of participants.tsv that may hold it, in small letters
_OF_A_PERSON = {"family": ("family", "family_id"), "site": ("site", "site_id")}


@checked
def runs_from_bids(
    root: str | Path, *, task: str | None = None, space: str | None = None
) -> tuple[RunRecord, ...]:
    """Find the BOLD runs of a BIDS dataset.

    Parameters
    ----------
    root : str or Path
        Folder with ``sub-*`` folders.
    task, space : str, optional
        Which ones, where the dataset has several.

    Returns
    -------
    tuple of RunRecord
        Ordered by subject, session, run (numerically, so run-10 follows run-9).

    Raises
    ------
    CohortError
        No run is found, several tasks or spaces are and none was chosen, a run has no events,
        files are links to data that were not fetched, or ``participants.tsv`` gives a person two
        families or sites.
    """
    root = Path(root)
    images = sorted(
        path
        for pattern in ("sub-*/func/*", "sub-*/ses-*/func/*")
        for path in root.glob(pattern)
        if path.name.endswith(_BOLD)
    )
    found = [(path, entities(path)) for path in images]
    found = _choose(root, found, "task", task)
    found = _choose(root, found, "space", space)
    if not found:
        sidecars = sum(1 for _ in root.glob("sub-*/**/*_bold.json"))
        raise CohortError(
            f"runs_from_bids: {root} must hold sub-*/[ses-*/]func/*_bold.nii[.gz] with task "
            f"{task or 'any'} and space {space or 'any'}, got none ({sidecars} sidecars). "
            "Are the images downloaded?"
        )
    people = participants(root)
    records = tuple(sorted((_record(root, *item, people) for item in found), key=natural))
    check_unique(root, records)
    check_files(root, records)
    return records


def entities(path: Path) -> dict[str, str]:
    """Key-value pairs of a BIDS file name, ``{"sub": "01", "task": "clips", "run": "03"}``."""
    return dict(_ENTITY.findall(path.name.split(".")[0]))


def _choose(
    root: Path, found: list[tuple[Path, dict[str, str]]], key: str, wanted: str | None
) -> list[tuple[Path, dict[str, str]]]:
    values = sorted({tags.get(key, "") for _, tags in found})
    if wanted is None:
        if len(values) > 1:
            names = ", ".join(v or "none" for v in values)
            raise CohortError(
                f"runs_from_bids: {root} holds several values of {key} ({names}). Pass {key}=."
            )
        return found
    return [(path, tags) for path, tags in found if tags.get(key) == wanted]


def participants(root: Path) -> dict[str, dict[str, str]]:
    """Family and site by subject label, from ``participants.tsv`` where there is one."""
    path = root / "participants.tsv"
    if not path.is_file():
        return {}
    columns, rows = read_tsv(path)
    columns_of = {
        field: [c for c in columns if c.lower() in names] for field, names in _OF_A_PERSON.items()
    }
    people: dict[str, dict[str, str]] = {}
    for row in rows:
        subject = row.get("participant_id", "").removeprefix("sub-")
        facts = {field: given(row, c) for field, names in columns_of.items() for c in names}
        if people.setdefault(subject, facts) != facts:
            raise CohortError(
                f"runs_from_bids: {path} must have one row a person, got two that differ in family "
                f"or site of sub-{subject}."
            )
    return people


def _record(
    root: Path, bold: Path, tags: dict[str, str], people: dict[str, dict[str, str]]
) -> RunRecord:
    subject = label_of(tags.get("sub", ""), "sub-", where=f"{bold} subject")
    session = tags.get("ses", "")
    run = tags.get("run", "1")
    source = {k: v for k, v in tags.items() if k not in _DERIVED}
    events = _nearest(root, bold, source, "_events.tsv")
    if events is None:
        raise CohortError(
            f"runs_from_bids: {bold} must have its _events.tsv, got none between its folder and "
            f"{root}. Leave resting-state runs out with task=."
        )
    return RunRecord(
        run_id=run_id_of(subject, session, run),
        subject=subject,
        session=session,
        run=run,
        bold=bold,
        events=events,
        mask=mask_of(root, bold, tags),
        confounds=confounds_of(root, bold, tags),
        tr=stated_tr(root, bold, tags),
        root=root,
        **people.get(subject, {}),
    )


def stated_tr(root: Path, bold: Path, tags: dict[str, str]) -> float | None:
    """Repetition time that the sidecars state, seconds; the image itself need not be there."""
    stated = _sidecar(root, bold, tags).get("RepetitionTime")
    if stated is None:
        return None
    if isinstance(stated, bool) or not isinstance(stated, int | float):
        raise CohortError(
            f"runs_from_bids: RepetitionTime of {bold} must be a number of seconds, got {stated!r}."
        )
    return seconds_of(str(stated), where=f"RepetitionTime of {bold}")


def confounds_of(root: Path, bold: Path, tags: dict[str, str]) -> Path | None:
    """The confounds table that preprocessing left for a run."""
    source = {k: v for k, v in tags.items() if k not in _DERIVED}
    return _nearest(root, bold, source, "_timeseries.tsv", desc="confounds")


def _folders(root: Path, start: Path) -> list[Path]:
    """From the file's own folder up to the root."""
    chain = [start.parent, *start.parent.parents]
    return chain[: chain.index(root) + 1]


def _nearest(
    root: Path, bold: Path, tags: dict[str, str], suffix: str, *, desc: str | None = None
) -> Path | None:
    """The file with `suffix` nearest to `bold` whose entities do not contradict its own."""
    for folder in _folders(root, bold):
        fitting = [
            (len(own), path)
            for path in sorted(folder.glob(f"*{suffix}"))
            for own in [entities(path)]
            if own.pop("desc", None) == desc and own.items() <= tags.items()
        ]
        if fitting:
            return safe_join(root, str(max(fitting)[1].relative_to(root)))
    return None


def _sidecar(root: Path, bold: Path, tags: dict[str, str]) -> dict[str, Any]:
    """All metadata of an image: sidecars from the root down, the nearer one wins."""
    merged: dict[str, Any] = {}
    for folder in reversed(_folders(root, bold)):
        fitting = [
            path for path in folder.glob("*bold.json") if entities(path).items() <= tags.items()
        ]
        for path in sorted(fitting, key=lambda p: len(entities(p))):
            fields = read_json(safe_join(root, str(path.relative_to(root))))
            if not isinstance(fields, dict):
                raise CohortError(f"runs_from_bids: {path} must hold a JSON object.")
            merged |= fields
    return merged


def mask_of(root: Path, bold: Path, tags: dict[str, str]) -> Path | None:
    """The brain mask that preprocessing left beside the image, else the root's ``mask.nii.gz``."""
    own = {k: v for k, v in tags.items() if k != "desc"}
    for path in sorted(bold.parent.glob("*_desc-brain_mask.nii*")):
        other = {k: v for k, v in entities(path).items() if k != "desc"}
        if other == own:
            return path
    shared = root / "mask.nii.gz"
    return shared if shared.is_file() else None


def natural(record: RunRecord) -> tuple[tuple[int, int, str], ...]:
    """Order by subject, session, run: run-10 follows run-9."""
    labels = (record.subject, record.session, record.run)
    return tuple((0, int(v), v) if v.isdigit() else (1, 0, v) for v in labels)
