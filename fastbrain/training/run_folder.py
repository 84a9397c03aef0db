"""What a run may see of its store, checked before it starts, and what its folder says of that."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from .._io import write_json
from .._rules import flag, list_of, none_or, record_of, table_of, text
from .._runfiles import read_record
from ..data import VoxelStore
from ..errors import CheckpointError, ConfigError
from .provenance import provenance

C = TypeVar("C")


def reason_of(out: str | Path) -> str | None:
    """Why an earlier start of this run let a leak pass, None where it did not."""
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
    """Write ``config.json`` of a run, or check that a resumed run says the same.

    Beside what is said it records the environment of the first start, and that of each later one
    which differs.

    Parameters
    ----------
    out : Path
    said : mapping
        ``config`` and whatever else must stay the same, as JSON values.
    function : str
        Who asks, for messages.
    allow_leak : str, optional
        Recorded; it may be given at a later start.

    Raises
    ------
    CheckpointError
        The folder belongs to another configuration or store, or its record is damaged.
    """
    same = json.loads(json.dumps(said))  # as it comes back: lists for tuples
    path = out / "config.json"
    about = provenance()
    if path.exists():
        before = read_record(path, {}, optional=_CLAIMED, function=function)
        if any(before.get(key) != value for key, value in same.items()):
            raise CheckpointError(
                f"{function}: a resumed run must keep its configuration and data, got another "
                f"configuration or other data than {path} names. Use a new run folder."
            )
        first = {key: before.get(key) for key in about}
        resumed = list(before.get("resumed_with", []))
        if about != (resumed[-1] if resumed else first):
            resumed.append(about)
        about = first | ({"resumed_with": resumed} if resumed else {})
    write_json(path, same | about | ({"allow_leak": allow_leak} if allow_leak else {}))


_GIT = none_or(record_of({"commit": text, "dirty": flag}))
_CLAIMED = {
    "allow_leak": none_or(text),
    "versions": table_of(text),
    "git": _GIT,
    "resumed_with": list_of(record_of({"versions": table_of(text), "git": _GIT})),
}


def absolute_paths(config: C, *, files: Sequence[str], models: Sequence[str] = ()) -> C:
    """A configuration whose paths do not depend on the working directory.

    Parameters
    ----------
    config : dataclass
    files : sequence of str
        Fields that name a file; None is left as it is.
    models : sequence of str
        Fields that name a folder or a model on the hub: a folder that exists is meant first.

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


def place_of(store: VoxelStore, run: Path) -> dict[str, str]:
    """Where a store is, absolute and relative to the run folder, and its fingerprint."""
    path = Path(store.path).resolve()
    return {
        "store": str(path),
        "store_beside": os.path.relpath(path, run.resolve()),
        "store_fingerprint": store.fingerprint(),
    }
