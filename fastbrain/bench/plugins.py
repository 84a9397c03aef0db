"""Entries and providers of other installed packages: the entry point group ``fastbrain.bench``.

A package names a module, or a list, in its ``pyproject.toml``::

    [project.entry-points."fastbrain.bench"]
    mine = "my_package.bench"

A module has ``PROVIDERS``, ``ENTRIES`` or both: lists of :class:`~fastbrain.bench.Provider` and
:class:`~fastbrain.bench.Entry`. A list holds either.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import metadata
from typing import Any

from ..errors import ConfigError
from .registry import Entry, Provider

GROUP = "fastbrain.bench"


@dataclass(frozen=True)
class Added:
    """What the installed plug-ins add."""

    entries: tuple[Entry, ...] = ()
    providers: tuple[Provider, ...] = ()


def added() -> Added:
    """Load all plug-ins.

    Raises
    ------
    ConfigError
        One cannot be imported, or holds something else than entries and providers.
    """
    entries: list[Entry] = []
    providers: list[Provider] = []
    for point in metadata.entry_points(group=GROUP):
        for one in _held(point):
            if isinstance(one, Entry):
                entries.append(one)
            elif isinstance(one, Provider):
                providers.append(one)
            else:
                raise ConfigError(
                    f"bench: entry point '{point.name}' ({point.value}) must hold Entry and "
                    f"Provider objects, got {type(one).__name__}. Repair or uninstall it."
                )
    return Added(tuple(entries), tuple(providers))


def _held(point: metadata.EntryPoint) -> list[Any]:
    try:
        loaded = point.load()
    except Exception as error:
        raise ConfigError(
            f"bench: entry point '{point.name}' ({point.value}) must be importable, got "
            f"{type(error).__name__}: {error}. Repair or uninstall it."
        ) from error
    if isinstance(loaded, (list, tuple)):
        return [*loaded]
    return [*getattr(loaded, "PROVIDERS", ()), *getattr(loaded, "ENTRIES", ())]
