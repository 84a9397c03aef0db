"""Record and check the configuration, data and leak permission of a run folder."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from .._io import write_json
from .._rules import flag, list_of, none_or, record_of, table_of, text
from .._runfiles import changed_entries, read_record
from ..data import StoreCollection, VoxelStore
from ..errors import CheckpointError, ConfigError
from .provenance import provenance

C = TypeVar("C")


def reason_of(out: str | Path) -> str | None:
    """Reason given at an earlier start of this run for allowing a leak, or None."""
    path = Path(out) / "config.json"
    if not path.is_file():
        return None
    return read_record(path, {}, optional=_CLAIMED, function="train").get("allow_leak")


def claim(
    out: Path,
    said: Mapping[str, Any],
    *,
    function: str = "train",
    allow_leak: str | None = None,
) -> None:
    """Write ``config.json`` of a run, or check that a resumed run matches it.

    The file also records the environment of the first start, and of each later start with a
    changed environment.

    Parameters
    ----------
    out : Path
    said : mapping
        ``config`` and other values that must not change, as JSON values.
    function : str
        Name of the calling function, for error messages.
    allow_leak : str, optional
        Reason for allowing a leak; recorded, and may be given at a later start.

    Raises
    ------
    CheckpointError
        The folder belongs to another configuration or store, or its record is damaged.
    """
    path = out / "config.json"
    about = provenance()
    if path.exists():
        before = read_record(path, {}, optional=_CLAIMED, function=function)
        if changed_entries(said, before):
            raise CheckpointError(
                f"{function}: a resumed run must keep its configuration and data, got another "
                f"configuration or other data than {path} names. Use a new run folder."
            )
        first = {key: before.get(key) for key in about}
        resumed = list(before.get("resumed_with", []))
        if about != (resumed[-1] if resumed else first):
            resumed.append(about)
        about = first | ({"resumed_with": resumed} if resumed else {})
    write_json(path, dict(said) | about | ({"allow_leak": allow_leak} if allow_leak else {}))


_GIT = none_or(record_of({"commit": text, "dirty": flag}))
_CLAIMED = {
    "allow_leak": none_or(text),
    "versions": table_of(text),
    "git": _GIT,
    "resumed_with": list_of(record_of({"versions": table_of(text), "git": _GIT})),
}


def absolute_paths(config: C, *, files: Sequence[str], models: Sequence[str] = ()) -> C:
    """Make the paths of a configuration absolute.

    Parameters
    ----------
    config : dataclass
    files : sequence of str
        Fields with the path of a file; None is unchanged.
    models : sequence of str
        Fields with a folder or a hub model name; an existing folder takes precedence.

    Raises
    ------
    ConfigError
        A file does not exist.
    """
    found: dict[str, Any] = {}
    for name in files:
        path = getattr(config, name)
        if path is not None and not Path(path).is_file():
            raise ConfigError(f"config: {name} must be a file that exists, got '{path}'.")
        found[name] = None if path is None else str(Path(path).resolve())
    for name in models:
        value = getattr(config, name)
        there = value is not None and Path(value).exists()
        found[name] = str(Path(value).resolve()) if there else value
    return replace(config, **found)  # type: ignore[type-var]


def place_of(store: VoxelStore | StoreCollection, run: Path) -> dict[str, str]:
    """Path of a store, absolute and relative to the run folder, and its fingerprint."""
    path = Path(store.path).resolve()
    return {
        "store": str(path),
        "store_beside": os.path.relpath(path, run.resolve()),
        "store_fingerprint": store.fingerprint(),
    }
