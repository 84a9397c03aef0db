"""Decode windows of a run's store, of another store, or of new scans."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

from .._arguments import checked
from .._progress import say
from ..data import RunRecord, VoxelStore, write_store
from ..data.store.manifest import COLLECTION, GRIDS
from ..data.store.planning_like import plan_like, scan_records
from ..data.store.preparation import PREPARATION, check_like
from ..decoding import Sampling
from ..errors import InputError, some
from ..evaluation.run_store import open_store
from ..llm4brain.joint_run import grids_of_run
from .decoded_windows import Decoding
from .open_decoder import RunDecoder, preparation_for
from .openers import Opener, opener_of
from .read_windows import read_windows

Part = Literal["train", "val", "test"]


@checked
def decode(
    run: str | Path,
    bold: str | Path | Sequence[str | Path] = (),
    *,
    events: str | Path | Sequence[str | Path] = (),
    every: int | None = None,
    store: str | Path | None = None,
    part: Part | None = None,
    subject: str = "",
    tr: float | None = None,
    late: Literal["error", "drop"] = "error",
    sampling: Sampling | None = None,
    confidence: bool = True,
    unknown_subject: str | None = None,
    device: str = "cpu",
    seed: int | None = None,
    engine: bool = False,
    decoder: Literal["retrieve", "edit"] | None = None,
    llm: str | None = None,
    encoder: str | None = None,
) -> Decoding:
    """Decode new scans, a store, or the test part of a run's own store.

    New scans are prepared by the settings of the run: its grid (another grid in the same space is
    resampled), filter, units, windows, and the voxel statistics of its training windows. A window
    that is far from all training windows is held, not decoded.

    Parameters
    ----------
    run : str or Path
        Run folder of LLM4Brain or BrainLLM. Of a run on several grids, windows of a store are
        decoded person by person, and scans on the grid of their person.
    bold : path or sequence of path, optional
        Preprocessed scans (NIfTI) to decode.
    events : path or sequence of path, optional
        Events table of each scan, with columns ``onset`` and ``duration``; texts are not needed.
        A column ``instruction`` has the question of each window, ``prompt`` the text to continue.
    every : int, optional
        In place of events: volumes from one window to the next. Default: the length of a window.
    store : str or Path, optional
        Another store, for example from ``fastbrain prepare --like``, or the current path of the
        run's own store; with `bold` only for a run without a preparation of its own.
    part : {"train", "val", "test"}, optional
        Part of the split to decode. Default: test for the run's own store, else all trials.
    subject : str
        Subject of the scans, for file names without one; only models with a table of subjects
        read it.
    tr : float, optional
        Repetition time of the scans in seconds, if they do not state it.
    late : {"error", "drop"}
        What happens to an event with a window that leaves its scan.
    sampling : Sampling, optional
    confidence : bool
        Whether to compute margins, at the cost of a second decoding.
    unknown_subject : {"refuse", "mean"}, optional
        See :func:`fastbrain.open_run`.
    device : str
    seed : int, optional
        Seed of the phase-randomised windows and of the choice of other windows, and of what
        `decoder` writes. Default: 0, and for what it writes the seed of its fit.
    engine : bool
        See :func:`fastbrain.evaluate_run`.
    decoder : {"retrieve", "edit"}, optional
        Sentence decoder that :func:`fastbrain.evaluate_run` fitted and kept in the run; it has
        settings of its own to write.
    llm, encoder : str, optional
        Folder or name of the language model and the sentence encoder of `decoder`, where they are
        not at their recorded places.

    Returns
    -------
    Decoding

    Raises
    ------
    InputError
        Scans and a store are given, or events and a step, or an option of another decoder.
    CheckpointError
        A file of the run is missing or damaged.
    StoreError
        The store has another grid, repetition time, window, units or filter than the run's.
    CohortError, VolumeError
        A scan or events table is invalid; the message names it.
    """
    images, tables = _paths(bold), _paths(events)
    # a run of an earlier version has its preparation in the store of its training alone
    spare = store is not None and (Path(run) / PREPARATION).is_dir()
    if images and (spare or part is not None):
        raise InputError("decode: bold must be given without store or part, got both.")
    if not images and (tables or every is not None or subject or tr is not None):
        raise InputError("decode: events, every, subject and tr must come with bold, got no scan.")
    if tables and every is not None:
        raise InputError("decode: events and every must not both be given. Use one.")
    records = scan_records(images, tables, subject=subject, tr=tr) if images else ()

    opener = opener_of(
        decoder, sampling=sampling, unknown_subject=unknown_subject, device=device, engine=engine,
        llm=llm, encoder=encoder, seed=seed, function="decode",
    )  # fmt: skip
    return decode_records(
        Path(run), records, opener, every=every, store=store, part=part, late=late,
        confidence=confidence, seed=seed or 0,
    )  # fmt: skip


def decode_records(
    run: Path,
    records: Sequence[RunRecord],
    opener: Opener,
    *,
    every: int | None = None,
    store: str | Path | None = None,
    part: Part | None = None,
    late: Literal["error", "drop"] = "error",
    confidence: bool = True,
    seed: int = 0,
) -> Decoding:
    """Decode the records of scans, or windows of a store if there are none; see :func:`decode`.

    Parameters
    ----------
    run : Path
    records : sequence of RunRecord
    opener : callable
        Maps a run folder of one grid and its preparation to its :class:`RunDecoder`.
    """
    options: dict[str, Any] = {"every": every, "part": part, "late": late}
    options |= {"confidence": confidence, "seed": seed}
    if folders := grids_of_run(run, function="decode"):
        if records:
            own = _own_run(folders, {record.subject for record in records})
            return decode_records(own, records, opener, **options)
        return _on_grids(run, folders, store, opener, options)
    like, plan = preparation_for(run, store), None
    if records:
        # scans are checked before the model is read, and the model is read before scans are
        if every is None and all(record.events is None for record in records):
            every = like.window_spec.window_trs
            say(f"windows: one every {every} volumes (--events or --every to choose)")
        plan = plan_like(records, like, late=late, every=every)
    reader = opener(run, like)
    with ExitStack() as stack:
        if plan is not None:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="fastbrain-"))
            given = write_store(plan, Path(folder) / "store")
            source: dict[str, Any] = {"bold": [str(record.bold) for record in records]}
            ids = tuple(t.trial_id for t in given.trials)
        else:
            given, chosen = _stored(reader, store, part)
            source = {"store": str(given.path), "part": chosen or "all"}
            ids = given.split.part(chosen) if chosen else tuple(t.trial_id for t in given.trials)
        windows = read_windows(reader, given, ids, confidence=confidence, seed=seed)
    facts = {"run": str(run), "store_fingerprint": reader.manifest["store_fingerprint"], **source}
    return Decoding(windows, facts | reader.facts | {"seed": seed, "free_running": True})


def _own_run(folders: Mapping[str, Path], people: set[str]) -> Path:
    """Return the run of the grid of the one person of some scans."""
    own = [folder for name, folder in folders.items() if {name} == {f"sub-{p}" for p in people}]
    if not own:
        named = some(sorted(people - {""})) or "none in the names of the files"
        raise InputError(
            f"decode: scans must be of one person with a grid, {', '.join(folders)}, got {named}. "
            "Name the person with --subject."
        )
    return own[0]


def _on_grids(
    run: Path,
    folders: Mapping[str, Path],
    store: str | Path | None,
    opener: Opener,
    options: Mapping[str, Any],
) -> Decoding:
    """Decode windows of a collection, each on the grid of its person."""
    if store is not None and not (Path(store) / COLLECTION).is_file():
        raise InputError(
            f"decode: store must be a collection for a run on several grids, got {store}. For one "
            f"store, name the run of its grid: {next(iter(folders.values()))}."
        )
    found = {}
    for name, folder in folders.items():
        member = None if store is None else Path(store) / GRIDS / name
        found[name] = decode_records(folder, (), opener, store=member, **options)
    windows = tuple(window for each in found.values() for window in each.windows)
    return Decoding(windows, {"run": str(run), "grids": {n: d.facts for n, d in found.items()}})


def _paths(value: str | Path | Sequence[str | Path]) -> tuple[Path, ...]:
    return (Path(value),) if isinstance(value, str | Path) else tuple(Path(v) for v in value)


def _stored(
    reader: RunDecoder, store: str | Path | None, part: Part | None
) -> tuple[VoxelStore, Part | None]:
    """Open the store to decode, and say which part of it; None is all trials."""
    wanted = reader.manifest["store_fingerprint"]
    if store is None:
        given = open_store(reader.run, reader.manifest, function="decode")
    else:
        given = VoxelStore.open(store)
    if given.fingerprint() == wanted:
        return given, part or "test"
    check_like(given, reader.like)
    return given, part
