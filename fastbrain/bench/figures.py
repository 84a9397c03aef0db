"""All pictures of some rows, by name of their file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .plots import latency_plot, ratio_plot, roofline_plot
from .rows import Row, machine_of, threads_in_words, timed_rows
from .tables import Duel, duels

# cases of one picture; more are cut into several
_MOST = 60


@dataclass(frozen=True)
class Figure:
    """One picture.

    Parameters
    ----------
    name : str
        Of its file, without suffix.
    machine, title : str
    svg : bytes
    """

    name: str
    machine: str
    title: str
    svg: bytes


def figures(rows: Iterable[Row]) -> list[Figure]:
    """Ratios, rooflines and latencies of each machine.

    Parameters
    ----------
    rows : iterable of dict

    Returns
    -------
    list of Figure

    Raises
    ------
    InputError
        The rows hold no times.
    MissingPartError
        matplotlib is not installed.
    """
    rows = list(rows)
    timed_rows(rows, function="bench plot")
    found: list[Figure] = []
    every = duels(rows)
    for machine in dict.fromkeys(duel.machine for duel in every):
        own = [duel for duel in every if duel.machine == machine]
        for draw, kind, title in (
            (ratio_plot, "ratio", "Strongest rival over fastbrain"),
            (latency_plot, "latency", "Latency"),
        ):
            parts = _cut(own)
            for number, part in enumerate(parts, start=1):
                which = f" ({number} of {len(parts)})" if len(parts) > 1 else ""
                suffix = f"-{number}" if len(parts) > 1 else ""
                name = f"{kind}-{slug(machine)}{suffix}"
                found.append(Figure(name, machine, title + which, draw(part)))
    return [*found, *_rooflines(rows)]


def _rooflines(rows: Sequence[Row]) -> list[Figure]:
    found = []
    places = [
        (machine_of(row), row["case"], row["env"].get("threads"))
        for row in rows
        if row["op"] == "roofline"
    ]
    for machine, dtype, threads in dict.fromkeys(places):
        own = [
            row
            for row in rows
            if machine_of(row) == machine
            and row["env"].get("threads") == threads
            and row.get("dtype", row.get("case")) == dtype
        ]
        if duels(own):
            name = f"roofline-{slug(machine)}-{dtype}-{threads}"
            title = f"Roofline, {dtype}, {threads_in_words(threads)}"
            found.append(Figure(name, machine, title, roofline_plot(own)))
    return found


def _cut(found: Sequence[Duel]) -> list[list[Duel]]:
    """Parts of at most so many cases, cut between ops where that is possible."""
    parts: list[list[Duel]] = [[]]
    for op in dict.fromkeys(duel.op for duel in found):
        own = [duel for duel in found if duel.op == op]
        if parts[-1] and len(parts[-1]) + len(own) > _MOST:
            parts.append([])
        for start in range(0, len(own), _MOST):
            if start:
                parts.append([])
            parts[-1] += own[start : start + _MOST]
    return parts


def slug(name: str) -> str:
    """A name as part of a file name."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "machine"
