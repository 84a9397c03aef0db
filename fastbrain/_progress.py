"""Progress of long jobs: a rich bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

T = TypeVar("T")

_PLAIN_EVERY_S = 10.0


_silent = False


def silence(silent: bool) -> bool:
    """Print nothing from here on, or print again; return whether nothing was printed before.

    Of several processes that train together only the first prints.
    """
    global _silent
    before, _silent = _silent, silent
    return before


def say(message: str) -> None:
    """Print one line for the user to stderr; stdout is reserved for data."""
    if not _silent:
        print(message, file=sys.stderr, flush=True)


def track(items: Iterable[T], description: str, *, total: int | None = None) -> Iterator[T]:
    """Yield `items` and show the progress.

    Parameters
    ----------
    items : iterable
        Items to yield.
    description : str
        Two or three words, shown before the bar.
    total : int, optional
        Number of items, if `items` has no length.
    """
    if total is None:
        total = len(items) if isinstance(items, Sized) else None
    if sys.stderr.isatty() and not _silent:
        yield from _rich_track(items, description, total)
        return
    start = last = time.monotonic()
    count = 0
    for item in items:
        yield item
        count += 1
        now = time.monotonic()
        if now - last >= _PLAIN_EVERY_S:
            say(f"{description}: {count}{f'/{total}' if total else ''} ({now - start:.0f} s)")
            last = now


def _rich_track(items: Iterable[T], description: str, total: int | None) -> Iterator[T]:
    from rich.console import Console
    from rich.progress import track as rich_track

    yield from rich_track(
        items, description, total=total, console=Console(stderr=True), transient=True
    )
