"""What rows say: the strongest rival of each case, where fastbrain loses, tables in Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from .rows import (
    OURS,
    Row,
    cache_of,
    compared_with,
    is_rival,
    is_timed,
    key_of,
    machine_of,
    newest,
)


@dataclass(frozen=True)
class Duel:
    """One case: our rows, and those of the rivals, the strongest first.

    Parameters
    ----------
    machine, op, case : str
    extra : str
        What is not usual: precision, cache, threads; "" for none.
    ours : tuple of dict
        Rows of ours and its variants.
    rivals : tuple of dict
        Rows of other software with a ratio to ours.
    """

    machine: str
    op: str
    case: str
    extra: str
    ours: tuple[Row, ...]
    rivals: tuple[Row, ...]

    @property
    def label(self) -> str:
        """Case and what is not usual."""
        return f"{self.case} ({self.extra})" if self.extra else self.case

    @property
    def best(self) -> Row:
        """Row of the strongest rival."""
        return self.rivals[0]

    @property
    def own(self) -> Row | None:
        """Our row beside the strongest rival; None where ours was not timed."""
        return self.beside(self.best)

    def beside(self, rival: Row) -> Row | None:
        """Our row that the ratio of a rival refers to."""
        return compared_with(rival, self.ours)

    @property
    def verdict(self) -> str:
        """Whether ours is faster, slower, or neither than the strongest rival."""
        return verdict_of(self.best)


def verdict_of(row: Row) -> str:
    """Whether ours is ``"faster"`` or ``"slower"`` than a rival, or ``"draw"``."""
    if row["ratio_low"] > 1:
        return "faster"
    return "slower" if row["ratio_high"] < 1 else "draw"


def extra_of(row: Row) -> str:
    """What is not usual about a row: precision, cache, CUDA graph."""
    usual = ("float32", None)
    parts = [row["dtype"]] if row.get("dtype") not in usual else []
    parts += [cache_of(row)] if cache_of(row) != "warm" or row["env"].get("gpu") else []
    parts += [row["way"]] if row.get("way") not in (None, "call") else []
    return ", ".join(parts)


def duels(rows: Iterable[Row]) -> list[Duel]:
    """Every case that has a rival with a ratio to ours, from the newest rows.

    Parameters
    ----------
    rows : iterable of dict

    Returns
    -------
    list of Duel
        By machine and op, in the order of their rows.
    """
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in newest(row for row in rows if is_timed(row)):
        op, case, _, *rest = key_of(row)
        groups.setdefault((machine_of(row), op, case, *rest), []).append(row)
    counted = Counter(machine for machine, _ in {(key[0], key[-1]) for key in groups})
    found = []
    for (machine, op, case, *_, count), own in groups.items():
        rivals = [r for r in own if is_rival(r) and r.get("ratio_to_fastbrain") is not None]
        if not rivals:
            continue
        extra = extra_of(own[0])
        if counted[machine] > 1:
            extra = ", ".join(filter(None, (extra, f"{count} thread{'s' * (count != 1)}")))
        rivals.sort(key=lambda row: row["ratio_to_fastbrain"])
        ours = tuple(row for row in own if row["provider"].startswith(OURS))
        found.append(Duel(machine, op, case, extra, ours, tuple(rivals)))
    return sorted(found, key=lambda duel: (duel.machine, duel.op))


def losses(found: Iterable[Duel]) -> list[tuple[Duel, Row]]:
    """Every rival that ours is not certainly faster than, the worst first."""
    pairs = [(duel, row) for duel in found for row in duel.rivals if verdict_of(row) != "faster"]
    return sorted(pairs, key=lambda pair: pair[1]["ratio_to_fastbrain"])


def where_we_lose(rows: Sequence[Row]) -> str:
    """One line with the cases in which ours is not certainly faster, worst first."""
    worst: dict[str, Row] = {}
    for row in sorted(rows, key=lambda row: row["ratio_to_fastbrain"]):
        if is_rival(row) and row["ratio_low"] <= 1:
            worst.setdefault(row["case"], row)
    lost = [
        f"{case} against {row['provider']} ({row['ratio_to_fastbrain']:.2f}x, "
        f"{row['ratio_low']:.2f}-{row['ratio_high']:.2f})"
        for case, row in worst.items()
    ]
    return "Where we lose or draw: " + ("; ".join(lost) if lost else "nowhere in these rows") + "."


def cell_of(row: Row | None) -> str:
    """A time, and for others than ours its ratio to ours with the interval."""
    if row is None:
        return ""
    if row["provider"] == OURS:
        return f"**{row['ms_p50']:.3g} ms**"
    over = row["ratio_to_fastbrain"]
    return f"{row['ms_p50']:.3g} ms, {over:.2f}x ({row['ratio_low']:.2f}-{row['ratio_high']:.2f})"


def table(rows: Sequence[Row]) -> str:
    """Markdown table of one machine, one op and one thread count: cases by providers."""
    providers = list(dict.fromkeys(row["provider"] for row in rows))
    cells = {(row["case"], row["provider"]): row for row in rows}
    lines = ["| case | " + " | ".join(providers) + " |", "|---|" + "---|" * len(providers)]
    for case in dict.fromkeys(row["case"] for row in rows):
        line = [case, *(cell_of(cells.get((case, provider))) for provider in providers)]
        lines.append("| " + " | ".join(line) + " |")
    return "\n".join(lines)


def summary(rows: Sequence[Row]) -> str:
    """Markdown table of ours beside the strongest rival of each case."""
    lines = [
        "| case | fastbrain | strongest rival | over ours (95 % interval) | slowest rival |",
        "|---|---|---|---|---|",
    ]
    for case in dict.fromkeys(row["case"] for row in rows):
        of_case = [row for row in rows if row["case"] == case]
        rivals = [row for row in of_case if is_rival(row)]
        rivals.sort(key=lambda row: row["ratio_to_fastbrain"])
        if not rivals:
            own = next(row for row in of_case if row["provider"] == OURS)
            lines.append(f"| {case} | {own['ms_p50']:.3g} ms | none could run | | |")
            continue
        best, worst = rivals[0], rivals[-1]
        beside = compared_with(best, of_case)
        own_ms = "" if beside is None else f"{beside['ms_p50']:.3g} ms"
        lines.append(
            f"| {case} | {own_ms} | {best['provider']} {best['ms_p50']:.3g} ms "
            f"| {best['ratio_to_fastbrain']:.2f}x "
            f"({best['ratio_low']:.2f}-{best['ratio_high']:.2f}) "
            f"| {worst['provider']} {worst['ratio_to_fastbrain']:.2f}x |"
        )
    return "\n".join(lines)
