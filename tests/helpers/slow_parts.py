"""Slow tests are divided into parts, of which `make test` runs one."""

from __future__ import annotations

import hashlib

import pytest


def divided(
    items: list[pytest.Item], part: int, parts: int
) -> tuple[list[pytest.Item], list[pytest.Item]]:
    """Return what is run, the slowest first so that none is waited for, and what is left out."""
    run = [item for item in items if _part(item, parts) in (None, part)]
    left_out = [item for item in items if _part(item, parts) not in (None, part)]
    return sorted(run, key=_seconds, reverse=True), left_out


def _part(item: pytest.Item, parts: int) -> int | None:
    """The part of a slow test, that of its whole file unless it is marked `apart`."""
    mark = item.get_closest_marker("slow")
    if mark is None:
        return None
    name = item.nodeid if mark.kwargs.get("apart") else item.nodeid.partition("::")[0]
    return int(hashlib.md5(name.encode(), usedforsecurity=False).hexdigest(), 16) % parts + 1


def _seconds(item: pytest.Item) -> float:
    mark = item.get_closest_marker("slow")
    return 0.0 if mark is None else mark.kwargs.get("seconds", 10.0)
