"""Language model of a run: copied into the run folder, or recorded by location and digests.

A run folder must work on another machine with another cache. A local model is copied into it. A
large local model is recorded by path, a hub model by commit, both with the sha256 of every file.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

from .._digests import remembered_sha256
from .._io import folder_atomic, write_atomic, write_json
from .._progress import say
from .._runfiles import LANGUAGE_MODEL, read_record
from ..errors import CheckpointError, ConfigError, InputError
from ..nn.saved_folder import plain_name
from .sources import ModelSource, find_model

COPY_LIMIT_BYTES = 4 << 30
FOLDER = "llm"
_KINDS = ("copy", "folder", "hub")


@dataclass(frozen=True)
class LLMRecord:
    """Location and file digests of the language model of a run.

    Parameters
    ----------
    kind : {"copy", "folder", "hub"}
        Whether the model is in the run folder, in another folder, or on the hub.
    name : str
        Name on the hub, or absolute path of the original folder or GGUF file.
    revision : str
        Commit on the hub; empty for a folder.
    files : dict of str to str
        Hex sha256 of every file that loading may read.
    """

    kind: str
    name: str
    revision: str = ""
    files: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        known = self.kind in _KINDS and bool(self.revision) == (self.kind == "hub")
        if not known or not self.files or not all(map(plain_name, self.files)):
            raise ConfigError(
                f"LLMRecord: kind must be one of {_KINDS}, with a revision for the hub alone, and "
                f"files names without a path, got {self.kind!r}, {self.revision!r} and "
                f"{list(self.files)[:5]}."
            )


def keep_llm(
    name_or_path: str | Path,
    run: str | Path,
    *,
    folder: str = FOLDER,
    limit_bytes: int = COPY_LIMIT_BYTES,
) -> LLMRecord:
    """Copy a language model into a run folder or record its location, and write ``llm.json``.

    Parameters
    ----------
    name_or_path : str or Path
        Folder, or name on the hub.
    run : str or Path
    folder : str
        Name of the copy within the run folder; the record has the same name with ``.json``.
    limit_bytes : int
        A local model larger than this is recorded by its absolute path and digests, not copied.

    Returns
    -------
    LLMRecord

    Raises
    ------
    InputError
        The model cannot be found, contains custom code, or has no safetensors.
    DiskError
        The copy does not fit on the disk.
    """
    run = Path(run)
    source = find_model(name_or_path, function="keep_llm")
    size = sum(os.path.getsize(source.folder / name) for name in source.file_names())
    kind = "hub" if source.revision else "copy" if size <= limit_bytes else "folder"
    record = LLMRecord(kind, source.name, source.revision, source.digests())
    if kind == "copy":
        with folder_atomic(run / folder, replace=True) as temporary:
            for name in record.files:
                with open(source.folder / name, "rb") as file:
                    write_atomic(temporary / name, partial(shutil.copyfileobj, file))
    write_json(run / f"{folder}.json", asdict(record))
    find_llm(record, run, folder=folder)
    return record


def kept_llm(run: str | Path, *, folder: str = FOLDER) -> LLMRecord | None:
    """Read the record written by an earlier start of a run; None if there is no record.

    Raises
    ------
    CheckpointError
        The record is damaged.
    """
    path = Path(run) / f"{folder}.json"
    if not path.is_file():
        return None
    found = read_record(path, LANGUAGE_MODEL, function="train")
    try:
        return LLMRecord(**found)
    except (TypeError, ConfigError) as error:
        raise CheckpointError(f"train: {path} must be whole: {error}") from error


def find_llm(record: LLMRecord, run: str | Path, *, folder: str = FOLDER) -> Path:
    """Find the folder of a recorded language model and verify the digest of every file.

    Parameters
    ----------
    record : LLMRecord
    run : str or Path
        Current path of the run folder, in which a copy is looked up first.
    folder : str
        As in :func:`keep_llm`.

    Returns
    -------
    Path
        A folder or GGUF file that :func:`load_llm` reads.

    Raises
    ------
    CheckpointError
        The model is missing, or a file differs from the record.
    """
    run = Path(run)
    if record.kind == "hub":
        places: list[tuple[str, str | None]] = [(record.name, record.revision)]
    else:
        inside = [str(run / folder)] if record.kind == "copy" else []
        places = [(place, None) for place in (*inside, record.name) if Path(place).exists()]
    faults = []
    for place, revision in places:
        try:
            source = find_model(place, function="find_llm", revision=revision)
        except InputError as error:
            faults.append(str(error))
            continue
        if not (fault := _difference(source, record.files)):
            if record.kind == "copy" and place == record.name:
                say(
                    f"note: the language model comes from {place}: the run's own copy, "
                    f"{run / folder}, {faults[0] if faults else 'is not there'}"
                )
            return source.place
        faults.append(f"{fault} in {source.folder}")
    where = f"'{record.name}' at {record.revision}" if record.revision else f"'{record.name}'"
    raise CheckpointError(
        f"find_llm: the language model of the run, {where}, must be there as it was at training, "
        f"got {'; '.join(faults) or f'neither {run / folder} nor that folder'}. Put it back, or "
        "pass it as llm= in Python."
    )


def carry_llm(record: LLMRecord | None, name: str, run: str | Path, out: str | Path) -> LLMRecord:
    """Record the language model of one run in a new run that starts from it.

    Parameters
    ----------
    record : LLMRecord or None
        Record of the first run; None for runs older than these records.
    name : str
        Language model named by the first run's saved model, used if there is no record.
    run, out : str or Path
        Folders of the first run and the new one.

    Returns
    -------
    LLMRecord

    Raises
    ------
    CheckpointError, InputError
        See :func:`find_llm` and :func:`keep_llm`.
    """
    if record is None:
        return keep_llm(name, out)
    if record.kind != "hub":
        return keep_llm(find_llm(record, run), out)
    write_json(Path(out) / f"{FOLDER}.json", asdict(record))
    return record


def llm_place(record: LLMRecord | None, name: str, run: Path) -> str:
    """Argument of :func:`load_llm` for a saved model: the recorded folder, or else the name."""
    return name if record is None else str(find_llm(record, run))


def _difference(source: ModelSource, files: Mapping[str, str]) -> str:
    """Describe the first difference from the recorded files; "" if there is none."""
    if unknown := sorted(set(source.file_names()) - set(files)):
        return f"a file that was not there, {unknown[0]},"
    for name, digest in files.items():
        path = source.folder / name
        if not path.is_file():
            return f"no {name}"
        if remembered_sha256(path) != digest:
            return f"another {name}"
    return ""
