"""Records of the runs of a BIDS tree, of its own images or of preprocessed ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..._progress import say
from ...errors import CohortError, some
from .absent import absent_files
from .companions import confounds_of, mask_of, nearest_events
from .derivatives import confounds_in, find_images, mask_in
from .entities import Image, choose, refuse_misplaced, refuse_several
from .pairing import Pairs, pair, raw_runs
from .participants import read_participants
from .runs_table import RunRecord, label_of, run_id_of
from .sidecars import Clock, Sidecar, clock_of, joined, read_sidecar
from .surface_names import images_in, on_surface, surfaces_among
from .tree import Tree

_BOLD = ("_bold.nii.gz", "_bold.nii")
_FETCH = "Fetch them ('datalad get', 'git annex get')"
_DROP = "leave these runs out with missing='drop' (--missing drop)"


def raw_records(
    tree: Tree, wanted: Mapping[str, str], *, need_events: bool, drop: bool
) -> tuple[list[RunRecord], list[Clock]]:
    """Make the records of the images of a tree, with the clock of each; arguments as below."""

    def ending(suffixes: tuple[str, ...]) -> list[Image]:
        return [
            (path, tags)
            for subject in tree.subjects()
            for path, tags in tree.recordings_ending(subject, suffixes)
            if path.parent.name == "func"
        ]

    images = images_in(wanted, _BOLD, ending)
    if not images:
        root = tree.root
        files = [file for subject in tree.subjects() for file in tree.recordings(subject)]
        count = sum(path.name.endswith("_bold.json") for path, _ in files)
        raise CohortError(
            f"runs_from_bids: {root} must hold sub-*/[ses-*/]func/*_bold.nii[.gz], got none "
            f"({count} sidecars). Are the images downloaded, and is it the BIDS folder?"
            f"{surfaces_among(files)}"
        )
    images = choose(tree.root, images, wanted, single=("task", "space"), function="runs_from_bids")
    refuse_several(tree.root, images, function="runs_from_bids")
    for image in images:
        refuse_misplaced(tree.root, *image)
    if drop:
        images = _fetched(images)
    events = [nearest_events(tree, *image) for image in images]
    if need_events:
        _refuse_without_events(tree.root, images, events)
    people = _people(tree, [tags for _, tags in images])
    records, clocks = [], []
    for (bold, tags), table in zip(images, events, strict=True):
        sidecar = read_sidecar(tree, bold, tags)
        clock = clock_of(sidecar)
        clocks.append(clock)
        record = _record(
            *(tree, tags, sidecar, clock, people),
            bold=tree.check(bold),
            events=table,
            mask=None if on_surface(tags) else mask_of(tree, bold, tags),
            confounds=confounds_of(tree, bold, tags),
            space=tags.get("space", ""),
            resolution=tags.get("res") or tags.get("den", ""),
        )
        records.append(record)
    return records, clocks


def preprocessed_records(
    raw: Tree,
    trees: Sequence[Tree],
    wanted: Mapping[str, str],
    *,
    need_events: bool,
    drop: bool,
) -> tuple[list[RunRecord], list[Clock]]:
    """Make the records of preprocessed images with the events of the raw data.

    Parameters
    ----------
    raw : Tree
    trees : sequence of Tree
        Derivatives.
    wanted : mapping of str to str
        Chosen entities of the images.
    need_events : bool
        Whether every run must have an events table.
    drop : bool
        Whether runs that lack something are left out with a note, rather than refused.

    Raises
    ------
    CohortError
    """
    images = find_images(trees, wanted)
    tasks = {image.tags.get("task", "") for image in images}
    runs = raw_runs(raw, tasks, wanted)
    if not runs:
        raise CohortError(
            f"runs_from_bids: {raw.root} must hold runs of the task of the preprocessed images, "
            f"{some(sorted(tasks))}, got none. Is it the folder of the raw data?"
        )
    pairs = pair(runs, images, where=raw.root)
    for run, _ in pairs.runs:
        refuse_misplaced(raw.root, run.image, run.tags)
    labelled = [
        (i.path, {**i.tags, "run": i.tags.get("run", "1"), **r.tags}) for r, i in pairs.runs
    ]
    refuse_several(raw.root, labelled, function="runs_from_bids", what="preprocessed image")
    _check_complete(raw, trees, pairs, need_events=need_events, drop=drop)
    found = [p for p in pairs.runs if not drop or p[1].path.is_file()]
    events = [nearest_events(raw, run.image, run.tags) for run, _ in found]
    if need_events:
        _refuse_without_events(raw.root, [(run.image, run.tags) for run, _ in found], events)
    people = _people(raw, [run.tags for run, _ in found])
    records, clocks = [], []
    for (run, image), table in zip(found, events, strict=True):
        sidecar = read_sidecar(raw, run.image, run.tags)
        derived = clock_of(read_sidecar(image.tree, image.path, image.tags))
        clock = joined(clock_of(sidecar), derived, image=image.path)
        clocks.append(clock)
        record = _record(
            *(raw, {"run": image.tags.get("run", "1"), **run.tags}, sidecar, clock, people),
            bold=image.tree.check(image.path),
            events=table,
            mask=None if on_surface(image.tags) else mask_in(trees, image),
            confounds=confounds_in(trees, image),
            space=image.tags.get("space", ""),
            resolution=image.tags.get("res") or image.tags.get("den", ""),
        )
        records.append(record)
    return records, clocks


def _check_complete(
    raw: Tree, trees: Sequence[Tree], pairs: Pairs, *, need_events: bool, drop: bool
) -> None:
    """Raise, or print a note, if a run lacks its image or an image its run."""
    if need_events:  # a run without events is none that could be used
        lone = [r for r in pairs.without_image if nearest_events(raw, r.image, r.tags) is not None]
        pairs = Pairs(pairs.runs, lone, pairs.without_run)
    absent = absent_files(image.path for _, image in pairs.runs)
    said = [part for part in (pairs.describe(), str(absent) if len(absent) else "") if part]
    if not said:
        return
    where = ", ".join(str(tree.root) for tree in trees)
    if not drop or len(absent) == len(pairs.runs):
        there, count = len(pairs.runs) - len(absent), len(pairs.runs) + len(pairs.without_image)
        raise CohortError(
            f"runs_from_bids: {where} must have an image for each run of {raw.root}, got "
            f"{there} of {count}; {'; '.join(said)}. {_FETCH}, or {_DROP}."
        )
    say(f"note: left out: {'; '.join(said)}")


def _fetched(images: list[Image]) -> list[Image]:
    absent = absent_files(path for path, _ in images)
    if not len(absent):
        return images
    if len(absent) == len(images):
        raise CohortError(f"runs_from_bids: an image must be there, got none: {absent}. {_FETCH}.")
    say(f"note: left out: {absent}")
    return [image for image in images if image[0].is_file()]


def _record(
    tree: Tree,
    tags: Mapping[str, str],
    sidecar: Sidecar,
    clock: Clock,
    people: Mapping[str, Mapping[str, Any]],
    **own: Any,
) -> RunRecord:
    """Make a record of a run of a tree; `own` holds its files and space."""
    subject, session, run = tags["sub"], tags.get("ses", ""), tags.get("run", "1")
    return RunRecord(
        run_id=run_id_of(subject, session, run),
        subject=subject,
        session=session,
        run=run,
        tr=clock.tr,
        start_time=clock.start_time or 0.0,
        n_volumes=clock.n_volumes,
        root=tree.root,
        instruction=sidecar.words("instruction"),
        prompt=sidecar.words("prompt"),
        **people.get(subject, {}),
        **own,
    )


def _people(tree: Tree, runs: Iterable[Mapping[str, str]]) -> dict[str, dict[str, Any]]:
    """Read family and site of the subjects of some runs."""
    subjects = [
        label_of(tags.get("sub", ""), "sub-", where=f"{tree.root} subject") for tags in runs
    ]
    return read_participants(tree.root, subjects, allow_outside=tree.allow_outside)


def _refuse_without_events(root: Path, images: list[Image], events: list[Path | None]) -> None:
    without = [path for (path, _), table in zip(images, events, strict=True) if table is None]
    if not without:
        return
    derived = any(key in tags for _, tags in images for key in ("space", "desc"))
    if len(without) < len(images):
        advice = (
            "Runs at rest have none: choose the task of the others (--task). For runs with a "
            "stimulus, fetch or copy their tables."
        )
    elif derived:
        advice = (
            "This is a folder of preprocessed images; their events lie in the raw data set: copy "
            "or link the tables beside the images, or write a runs table that names both."
        )
    else:
        advice = (
            "Recordings at rest have none. If these are preprocessed images, their events lie in "
            "the raw data set: write a runs table that names both."
        )
    raise CohortError(
        f"runs_from_bids: each run must have its _events.tsv between its folder and {root}, got "
        f"none for {len(without)} of {len(images)} runs: {some(without)}. {advice}"
    )
