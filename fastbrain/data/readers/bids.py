"""Find the runs of a BIDS tree: entities from file names, sidecars inherited from the root down."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from ..._arguments import checked
from ..._progress import say
from ...errors import CohortError, some
from .entities import (
    Image,
    check_choice,
    choose,
    entities,
    is_data,
    refuse_misplaced,
    refuse_several,
)
from .participants import read_participants
from .runs_table import RunRecord, check_files, check_unique, inside, label_of, run_id_of
from .sidecars import Clock, clock_of, folders_up, read_sidecar
from .unfetched import refuse_unfetched

_BOLD = ("_bold.nii.gz", "_bold.nii")
# entities that preprocessing adds to the name of the raw image
DERIVED = ("space", "desc", "res", "den")
# entities of the voxel grid: a mask belongs to the images with the same values
_GRID = ("space", "res", "den")


@checked
def runs_from_bids(
    root: str | Path,
    *,
    task: str | None = None,
    space: str | None = None,
    acq: str | None = None,
    ce: str | None = None,
    rec: str | None = None,
    dir: str | None = None,
    echo: str | None = None,
    part: str | None = None,
    chunk: str | None = None,
    res: str | None = None,
    den: str | None = None,
    desc: str | None = None,
    allow_outside: bool = False,
    need_events: bool = True,
) -> tuple[RunRecord, ...]:
    """Find the BOLD runs of a BIDS dataset.

    Hidden files and folders called ``sourcedata``, ``code`` or ``derivatives`` are ignored.
    Sidecars are interpreted by :func:`fastbrain.data.readers.sidecars.clock_of`; assumptions are
    printed as notes. Their fields ``instruction`` and ``prompt`` are those of every trial for which
    the events state none; ``Instructions`` of BIDS, which the person was given, is not used.

    Parameters
    ----------
    root : str or Path
        Folder with ``sub-*`` folders.
    task, space : str, optional
        Task and space to use; required if the dataset has several.
    acq, ce, rec, dir, echo, part, chunk, res, den, desc : str, optional
        Entity of the image to use if a run has several: "2" or "echo-2". "none" chooses the images
        without the entity.
    allow_outside : bool
        Whether files may be links that lead out of `root`, as in virtual data sets made of links.
    need_events : bool
        Whether every run must have an events table; runs at rest have none.

    Returns
    -------
    tuple of RunRecord
        Ordered by subject, session, run (numerically, so run-10 follows run-9).

    Raises
    ------
    CohortError
        No run is found, several tasks or spaces are found and none was chosen, a run has several
        images or no events, an image lies in the folder of another subject or session, a sidecar
        contradicts itself or evenly spaced volumes, files are links to data that were not fetched
        or lead out of `root`, or ``participants.tsv`` does not match the subjects.
    ConfigError
        The value of an entity is not a label.
    """
    root = Path(root)
    wanted = check_choice(
        {
            "task": task,
            "space": space,
            "acq": acq,
            "ce": ce,
            "rec": rec,
            "dir": dir,
            "echo": echo,
            "part": part,
            "chunk": chunk,
            "res": res,
            "den": den,
            "desc": desc,
        },
        function="runs_from_bids",
    )
    images: list[Image] = [
        (path, entities(path))
        for pattern in ("sub-*/func/*", "sub-*/ses-*/func/*")
        for path in sorted(root.glob(pattern))
        if path.name.endswith(_BOLD) and is_data(root, path)
    ]
    if not images:
        count = sum(is_data(root, path) for path in root.glob("sub-*/**/*_bold.json"))
        raise CohortError(
            f"runs_from_bids: {root} must hold sub-*/[ses-*/]func/*_bold.nii[.gz], got none "
            f"({count} sidecars). Are the images downloaded, and is it the BIDS folder?"
        )
    images = choose(root, images, wanted, single=("task", "space"), function="runs_from_bids")
    refuse_several(root, images, function="runs_from_bids")
    for image in images:
        refuse_misplaced(root, *image)
    labels = [label_of(tags.get("sub", ""), "sub-", where=f"{p} subject") for p, tags in images]
    people = read_participants(root, labels, allow_outside=allow_outside)
    events = [nearest_events(root, *image, allow_outside=allow_outside) for image in images]
    if need_events:
        _refuse_without_events(root, images, events)
    sidecars = [read_sidecar(root, *image, allow_outside=allow_outside) for image in images]
    clocks = [clock_of(sidecar) for sidecar in sidecars]
    records = []
    for (bold, tags), subject, table, sidecar, clock in zip(
        images, labels, events, sidecars, clocks, strict=True
    ):
        if not allow_outside:
            inside(root, str(bold.relative_to(root)), what=f"runs_from_bids: {bold}")
        session, run = tags.get("ses", ""), tags.get("run", "1")
        records.append(
            RunRecord(
                run_id=run_id_of(subject, session, run),
                subject=subject,
                session=session,
                run=run,
                bold=bold,
                events=table,
                mask=mask_of(root, bold, tags, allow_outside=allow_outside),
                confounds=confounds_of(root, bold, tags, allow_outside=allow_outside),
                tr=clock.tr,
                start_time=clock.start_time or 0.0,
                n_volumes=clock.n_volumes,
                root=root,
                instruction=sidecar.words("instruction"),
                prompt=sidecar.words("prompt"),
                **people.get(subject, {}),
            )
        )
    records.sort(key=natural)
    check_unique(root, records)
    check_files(root, records)
    tell(clocks)
    return tuple(records)


def tell(clocks: Iterable[Clock]) -> None:
    """Print the notes of the clocks, each once with the number of its runs."""
    for note, count in Counter(note for clock in clocks for note in clock.notes).items():
        say(f"note: {note} ({count} runs)")


def nearest_events(
    root: Path, bold: Path, tags: dict[str, str], *, allow_outside: bool = False
) -> Path | None:
    """Find the events table of a run; None if there is none."""
    return _nearest(root, bold, _source(tags), "_events.tsv", allow_outside=allow_outside)


def confounds_of(
    root: Path, bold: Path, tags: dict[str, str], *, allow_outside: bool = False
) -> Path | None:
    """Find the confounds table of a preprocessed run; None if there is none."""
    return _nearest(
        root,
        bold,
        _source(tags),
        "_timeseries.tsv",
        desc="confounds",
        allow_outside=allow_outside,
    )


def mask_of(
    root: Path, bold: Path, tags: dict[str, str], *, allow_outside: bool = False
) -> Path | None:
    """Find the brain mask in the folder of the image, else ``mask.nii.gz`` in the root."""
    grid = {key: tags.get(key) for key in _GRID}
    fitting = []
    for path in sorted(bold.parent.glob("*_desc-brain_mask.nii*")):
        own = {k: v for k, v in entities(path).items() if k != "desc"}
        on_grid = {key: own.get(key) for key in _GRID} == grid
        if not path.name.startswith(".") and on_grid and own.items() <= tags.items():
            fitting.append((len(own), path))
    shared = root / "mask.nii.gz"
    found = max(fitting)[1] if fitting else shared
    if not fitting and not (shared.is_file() or shared.is_symlink()):
        return None
    refuse_unfetched(found)
    if not allow_outside:
        inside(root, str(found.relative_to(root)), what=f"runs_from_bids: {found}")
    return found


def natural(record: RunRecord) -> tuple[tuple[int, int, str], ...]:
    """Return a sort key by subject, session and run, by which run-10 follows run-9."""
    labels = (record.subject, record.session, record.run)
    return tuple((0, int(v), v) if v.isdigit() else (1, 0, v) for v in labels)


def _source(tags: dict[str, str]) -> dict[str, str]:
    return {k: v for k, v in tags.items() if k not in DERIVED}


def _nearest(
    root: Path,
    bold: Path,
    tags: dict[str, str],
    suffix: str,
    *,
    desc: str | None = None,
    allow_outside: bool,
) -> Path | None:
    """Find the nearest file with `suffix` upwards from `bold` with a subset of its entities."""
    for folder in folders_up(root, bold):
        fitting = [
            (len(own), path)
            for path in sorted(folder.glob(f"*{suffix}"))
            for own in [entities(path)]
            if not path.name.startswith(".")
            and own.pop("desc", None) == desc
            and own.items() <= tags.items()
        ]
        if fitting:
            most = max(count for count, _ in fitting)
            best = [path for count, path in fitting if count == most]
            if len(best) > 1:
                raise CohortError(
                    f"runs_from_bids: {bold} must have one *{suffix}, got {some(best)}. Remove or "
                    "rename the wrong one."
                )
            if not allow_outside:
                inside(root, str(best[0].relative_to(root)), what=f"runs_from_bids: {best[0]}")
            return best[0]
    return None


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
