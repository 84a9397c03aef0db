"""Find the runs of a BIDS tree: entities from file names, sidecars inherited from the root down."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from ..._arguments import checked
from ..._progress import say
from .derivatives import open_derivatives
from .entities import check_choice
from .run_records import preprocessed_records, raw_records
from .runs_table import RunRecord, check_files, check_unique
from .sidecars import Clock
from .tree import Tree


@checked
def runs_from_bids(
    root: str | Path,
    *,
    derivatives: str | Path | Sequence[str | Path] | None = None,
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
    missing: Literal["error", "drop"] = "error",
) -> tuple[RunRecord, ...]:
    """Find the BOLD runs of a BIDS dataset.

    Hidden files and folders called ``sourcedata``, ``code`` or ``derivatives`` are ignored.
    Sidecars are interpreted by :func:`fastbrain.data.readers.sidecars.clock_of`; assumptions are
    printed as notes. Their fields ``instruction`` and ``prompt`` are those of every trial for which
    the events state none; ``Instructions`` of BIDS, which the person was given, is not used.

    With `derivatives`, images, masks and confounds are those of preprocessing, and events those of
    the raw data, which need not be downloaded otherwise. Names are matched as
    :mod:`fastbrain.data.readers.pairing` describes. The repetition time of both sidecars must
    agree; ``StartTime`` is that of the derivative, which states the slice-time reference.

    Parameters
    ----------
    root : str or Path
        Folder with ``sub-*`` folders.
    derivatives : str, Path or sequence of them, optional
        Preprocessed images: names of folders in ``root/derivatives`` (in one text, separated by
        commas: "fmriprep,xcp_d"), or paths. Masks and confounds that one lacks are those of the
        others.
    task, space : str, optional
        Task and space to use; required if the dataset has several. With the space of a surface
        (fsLR, fsaverage5, fsnative) the runs are ``_bold.dtseries.nii`` or pairs of
        ``_bold.func.gii``.
    acq, ce, rec, dir, echo, part, chunk, res, den, desc : str, optional
        Entity of the image to use if a run has several: "2" or "echo-2". "none" chooses the images
        without the entity.
    allow_outside : bool
        Whether files may be links that lead out of `root`, as in virtual data sets made of links.
    need_events : bool
        Whether every run must have an events table; runs at rest have none.
    missing : {"error", "drop"}
        What to do with images that are absent or not fetched, runs without a preprocessed image,
        and preprocessed images without a run: raise, or leave them out with a note.

    Returns
    -------
    tuple of RunRecord
        Ordered by subject, session, run (numerically, so run-10 follows run-9).

    Raises
    ------
    CohortError
        No run is found, several tasks or spaces are found and none was chosen, a run has several
        images or no events, an image fits several runs, an image lies in the folder of another
        subject or session, a sidecar contradicts itself, the other one or evenly spaced volumes,
        files are links to data that were not fetched or lead out of `root`, or
        ``participants.tsv`` does not match the subjects.
    ConfigError
        The value of an entity is not a label.
    """
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
    tree = Tree(Path(root), allow_outside=allow_outside)
    drop = missing == "drop"
    if derivatives is None:
        records, clocks = raw_records(tree, wanted, need_events=need_events, drop=drop)
    else:
        trees = open_derivatives(tree.root, derivatives, allow_outside=allow_outside)
        records, clocks = preprocessed_records(
            tree, trees, wanted, need_events=need_events, drop=drop
        )
    records.sort(key=natural)
    check_unique(tree.root, records)
    check_files(tree.root, records)
    tell(clocks)
    return tuple(records)


def tell(clocks: Iterable[Clock]) -> None:
    """Print the notes of the clocks, each once with the number of its runs."""
    for note, count in Counter(note for clock in clocks for note in clock.notes).items():
        say(f"note: {note} ({count} runs)")


def natural(record: RunRecord) -> tuple[tuple[int, int, str], ...]:
    """Return a sort key by subject, session and run, by which run-10 follows run-9."""
    labels = (record.subject, record.session, record.run)
    return tuple((0, int(v), v) if v.isdigit() else (1, 0, v) for v in labels)
