"""Records of an unfinished store, and the checks before its preparation is resumed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ..._digests import read_sealed, write_sealed
from ..._io import as_disk_error, sha256
from ..._progress import track
from ...errors import OutputExistsError, StoreError, some
from ..readers.runs_table import RunRecord
from .inputs import changed_inputs

SETTINGS = "prepare.json"
LOCK = ".lock"
IMAGES = "mean_images"
REASON = "excluded"  # in the record of a run that was measured and not written
_MARKS = ".converting"
_TEMPORARY = (".*.tmp", "runs/.*.tmp", f"{IMAGES}/.*.tmp", f"{_MARKS}/*")

_NAMES = {
    "fastbrain": "the version of fastbrain",
    "grid": "mask, kernel or stride",
    "quality_limits": "limits of tSNR or DVARS",
    "trials_and_split": "events, texts, windows or split",
}


def claim(root: Path, settings: dict[str, Any], *, resume: bool) -> None:
    """Record the settings, or check that they are those of the interrupted preparation.

    The caller must hold the lock of `root`: temporary files of a killed process are removed.

    Raises
    ------
    OutputExistsError
        `root` is not empty and `resume` is false.
    StoreError
        `root` holds other files, or was prepared with other settings.
    """
    path = root / SETTINGS
    others = [entry for entry in root.iterdir() if entry.name != LOCK]
    if others and not resume:
        raise OutputExistsError(
            f"prepare_store: {root} must be new or empty. Pass --resume to go on with it, or "
            "choose another folder."
        )
    strays = _strays(root)
    if not path.is_file():
        if set(others) - {*strays, root / _MARKS}:
            raise StoreError(
                f"prepare_store: {root} must be an interrupted store to resume, got other files. "
                "Choose another folder."
            )
        write_sealed(path, settings)
    else:
        changed = _changed(read_sealed(path, error=StoreError), settings)
        if changed:
            raise StoreError(
                f"prepare_store: {root} must have been started with the same settings, got other "
                f"values of {some(changed)}. Choose another folder."
            )
    _remove_strays(root)


def _strays(root: Path) -> list[Path]:
    """List incomplete files of killed processes."""
    return [path for pattern in _TEMPORARY for path in root.glob(pattern)]


def _remove_strays(root: Path) -> None:
    for stray in _strays(root):
        with as_disk_error(stray):
            stray.unlink(missing_ok=True)
    with as_disk_error(root / _MARKS), suppress(FileNotFoundError):
        (root / _MARKS).rmdir()


@contextmanager
def marks_folder(root: Path) -> Iterator[Path]:
    """Make the folder in which worker processes mark the runs in progress.

    It is removed at the end, with the incomplete files of workers that were stopped.
    """
    marks = root / _MARKS
    with as_disk_error(marks):
        marks.mkdir(exist_ok=True)
    try:
        yield marks
    finally:
        _remove_strays(root)


def _changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """List the settings that differ, for messages; runs by name."""
    changed = []
    for key in sorted({*before, *now}):
        old, new = before.get(key), now.get(key)
        if old == new:
            continue
        if key == "runs" and isinstance(old, dict) and isinstance(new, dict):
            names = sorted(n for n in {*old, *new} if old.get(n) != new.get(n))
            changed += [f"run {name}" for name in names]
        elif key == "members" and isinstance(old, dict) and isinstance(new, dict):
            changed += _changed_members(old, new)
        else:
            changed.append(_NAMES.get(key, key))
    return changed


def _changed_members(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """List the settings that differ between stores of a collection, with those they belong to."""
    both = sorted(before.keys() & now.keys())
    of: dict[str, list[str]] = {}
    for name in both:
        for setting in _changed(before[name], now[name]):
            of.setdefault(setting, []).append(name)
    found = [
        # a run names its person
        setting if names == both or setting.startswith("run ") else f"{setting} of {some(names)}"
        for setting, names in of.items()
    ]
    return found + [f"the presence of {name}" for name in sorted(before.keys() ^ now.keys())]


def finished_runs(root: Path, runs: Sequence[RunRecord]) -> dict[str, dict[str, Any]]:
    """Read the results of the runs that are converted and undamaged.

    Raises
    ------
    StoreError
        The image of a converted run has changed: the store would mix two versions of the cohort.
    """
    found = {}
    for run in track(runs, "checking finished runs"):
        record, array = root / "runs" / f"{run.run_id}.json", root / "runs" / f"{run.run_id}.npy"
        image = root / IMAGES / f"{run.run_id}.npy"
        if not record.is_file():
            continue
        try:
            result = read_sealed(record, error=StoreError)
        except StoreError:
            continue  # a damaged record: the run is converted again
        if result.get(REASON):
            found[run.run_id] = result  # measured, and beyond a limit of quality
            continue
        if not (array.is_file() and image.is_file()):
            continue
        written = (result.get("sha256"), result.get("mean_image"))
        if written == (sha256(array), sha256(image)):
            found[run.run_id] = result
    done = [run for run in runs if run.run_id in found]
    refuse_changed(root, done, [found[run.run_id].get("inputs") for run in done])
    return found


def check_finished(root: Path, runs: Sequence[RunRecord]) -> None:
    """Check that a finished store was prepared from the current images.

    Raises
    ------
    StoreError
        The record of a run is missing or damaged, or its image has changed.
    """
    records = [read_sealed(root / "runs" / f"{r.run_id}.json", error=StoreError) for r in runs]
    refuse_changed(root, runs, [record.get("inputs") for record in records])


def refuse_changed(root: Path, runs: Sequence[RunRecord], recorded: Sequence[object]) -> None:
    """Raise a :class:`StoreError` that names the images that differ from those recorded."""
    changed = changed_inputs(runs, recorded)
    if changed:
        raise StoreError(
            f"prepare_store: the images of {root} must be those it was started with, got others "
            f"of {changed}. Choose another folder, or remove this one and start anew."
        )
