"""Find the runs of a BIDS tree by their events files, with or without images on disk."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..._arguments import checked
from ...errors import CohortError
from ..readers import bids
from ..readers.companions import confounds_of, mask_of
from ..readers.entities import (
    Image,
    agrees,
    check_choice,
    choose,
    conflicting,
    entities,
    is_data,
    refuse_group,
    refuse_misplaced,
    refuse_several,
)
from ..readers.inside import inside
from ..readers.participants import read_participants
from ..readers.runs_table import RunRecord, check_unique, label_of, run_id_of
from ..readers.sidecars import Clock, clock_of, joined, read_sidecar
from ..readers.surface_names import images_in, on_surface
from ..readers.tree import Tree

_EVENTS = "_events.tsv"
_OF_A_RUN = ("sub", "ses", "run")


@checked
def announced_runs(
    root: str | Path,
    *,
    task: str,
    images: str | Path | None = None,
    space: str | None = None,
    allow_outside: bool = False,
    chosen: Mapping[str, str | None] | None = None,
) -> tuple[RunRecord, ...]:
    """Find the runs of a task by their events files; images may be absent.

    Parameters
    ----------
    root : str or Path
        BIDS folder with ``sub-*`` folders and the events files.
    task : str
    images : str or Path, optional
        Folder with ``sub-*`` folders of preprocessed images; default `root`.
    space : str, optional
        Space of the images; that of a surface (``fsLR``, ``fsaverage5``) finds grayordinates and
        pairs of surfaces.
    allow_outside : bool
        Whether files may be links that lead out of their data set.
    chosen : mapping of str to str, optional
        Other entities of the images, ``{"echo": "2"}``, as in :func:`runs_from_bids`.

    Returns
    -------
    tuple of RunRecord
        Ordered by subject, session, run. `bold` of an absent image is its expected path.

    Raises
    ------
    CohortError
        No events file was found, a run has several images, a file lies in the folder of another
        subject or session, a sidecar is damaged or contradicts evenly spaced volumes, a file leads
        out of its data set, or ``participants.tsv`` does not match the subjects.
    ConfigError
        An entity cannot be chosen, or a value is not a label.
    """
    root = Path(root)
    folder = root if images is None else Path(images)
    task = label_of(task, "task-", where="task")
    wanted = check_choice({"space": space, **(chosen or {})}, function="announced_runs")
    events = [
        (path, entities(path))
        for pattern in (f"sub-*/func/*{_EVENTS}", f"sub-*/ses-*/func/*{_EVENTS}")
        for path in sorted(root.glob(pattern))
        if is_data(root, path)
    ]
    events = [e for e in events if e[1].get("task") == task and agrees(e[1], wanted)]
    if not events:
        raise CohortError(
            f"announced_runs: {root} must hold sub-*/[ses-*/]func/*_task-{task}_*{_EVENTS}, got "
            "none. Is it the folder of the data set?"
        )
    for event in events:
        refuse_misplaced(root, *event)
    refuse_several(root, events, function="announced_runs", what="events table")
    labels = [label_of(tags.get("sub", ""), "sub-", where=f"{p} subject") for p, tags in events]
    people = read_participants(root, labels, allow_outside=allow_outside)
    found = _images(folder, task, wanted)
    raw = Tree(root, allow_outside=allow_outside, function="announced_runs")
    derived = (
        raw
        if folder == root
        else Tree(folder, allow_outside=allow_outside, function="announced_runs")
    )
    records, clocks = [], []
    for (path, tags), subject in zip(events, labels, strict=True):
        if not allow_outside:
            inside(root, str(path.relative_to(root)), what=f"announced_runs: {path}")
        expected = _expected(path, root, folder, space)
        candidates = [
            i for i in found.get(tags.get("sub", ""), []) if not conflicting(i[1], tags, _OF_A_RUN)
        ]
        refuse_group(folder, candidates, function="announced_runs")
        bold, own = candidates[0] if candidates else (expected, entities(expected))
        if not allow_outside:
            inside(folder, str(bold.relative_to(folder)), what=f"announced_runs: {bold}")
        clock = _clock(raw, derived, path, tags, bold, own)
        clocks.append(clock)
        run, session = tags.get("run", "1"), tags.get("ses", "")
        there = bool(candidates)
        record = RunRecord(
            run_id=run_id_of(subject, session, run),
            subject=subject,
            session=session,
            run=run,
            bold=bold,
            events=path,
            mask=mask_of(derived, bold, own) if there and not on_surface(own) else None,
            confounds=confounds_of(derived, bold, own) if there else None,
            tr=clock.tr,
            start_time=clock.start_time or 0.0,
            n_volumes=clock.n_volumes,
            root=root,
            **people.get(subject, {}),
        )
        records.append(record)
    ordered = tuple(sorted(records, key=bids.natural))
    check_unique(root, ordered)
    bids.tell(clocks)
    return ordered


def _clock(
    raw: Tree, derived: Tree, events: Path, tags: dict[str, str], bold: Path, own: dict[str, str]
) -> Clock:
    """Read the clock from the sidecars of the raw image, completed by those of the image used."""
    source = events.with_name(events.name.removesuffix(_EVENTS) + "_bold.nii.gz")
    clock = clock_of(read_sidecar(raw, source, tags))
    if (derived.root, bold) == (raw.root, source):
        return clock
    return joined(clock, clock_of(read_sidecar(derived, bold, own)), image=bold)


def _images(folder: Path, task: str, wanted: dict[str, str]) -> dict[str, list[Image]]:
    """Find the images of a task, by subject."""

    def ending(suffixes: tuple[str, ...]) -> list[Image]:
        images = [
            (path, entities(path))
            for suffix in suffixes
            for path in sorted(folder.glob(f"sub-*/**/*{suffix}"))
            if is_data(folder, path)
        ]
        return [image for image in images if image[1].get("task") == task]

    images = images_in(wanted, ("_bold.nii.gz", "_bold.nii"), ending)
    found: dict[str, list[Image]] = {}
    for path, tags in choose(folder, images, wanted, function="announced_runs"):
        refuse_misplaced(folder, path, tags)
        found.setdefault(tags.get("sub", ""), []).append((path, tags))
    return found


def _expected(events: Path, root: Path, folder: Path, space: str | None) -> Path:
    stem = events.name.removesuffix(_EVENTS)
    if space and on_surface({"space": space}):
        of_space = "space-fsLR_den-91k_bold.dtseries.nii"
        if space != "fsLR":
            of_space = f"hemi-L_space-{space}_bold.func.gii"
        return folder / events.parent.relative_to(root) / f"{stem}_{of_space}"
    derived = "" if folder == root and space is None else "_desc-preproc"
    of_space = f"_space-{space}" if space else ""
    return folder / events.parent.relative_to(root) / f"{stem}{of_space}{derived}_bold.nii.gz"
