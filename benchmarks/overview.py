"""The short form of the benchmark rows: one table and one plot for the README."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from statistics import median
from typing import Any

from fastbrain._io import write_atomic
from fastbrain.bench.drawing import BLUE, log_ticks, pyplot, saved
from fastbrain.bench.rows import device_of

Row = dict[str, Any]


def strongest(rows: list[Row], is_rival: Any) -> dict[tuple[str, str], list[Row]]:
    """Fastest rival of each case, by operation and machine.

    Parameters
    ----------
    rows : list of dict
        The newest row of each case and provider.
    is_rival : callable
        Whether a row was measured on other software than ours.

    Returns
    -------
    dict of (str, str) to list of dict
    """
    cases: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    in_graphs = {_case(row) for row in rows if row.get("way") == "graph"}
    for row in rows:
        if row.get("ratio_to_fastbrain") is not None and "ratio_low" in row and is_rival(row):
            # what a GPU takes, without the launches of the host, where it was timed
            if row.get("way") == "call" and _case(row) in in_graphs:
                continue
            cases[_case(row)].append(row)
    found: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for (op, place, *_), rivals in cases.items():
        found[op, place].append(min(rivals, key=lambda row: row["ratio_to_fastbrain"]))
    return dict(found)


def _case(row: Row) -> tuple[Any, ...]:
    how = (row["env"]["threads"], row.get("dtype"), row.get("cache"))
    return row["op"], device_of(row), *how, row["case"]


# small operations are left to the manual, which has all, as long as they lose nowhere
_LEFT_OUT = ("memory_update_", "parcel_means", "pca", "vq_step")


def headline(best: dict[tuple[str, str], list[Row]]) -> str:
    """Markdown table of the time of the strongest rival over ours, one line an operation."""
    lines = [
        "| operation | machine | cases | best | median | worst | where we lose or draw |",
        "|---|---|---|---|---|---|---|",
    ]
    losing = {op for (op, _), rows in best.items() if any(r["ratio_low"] <= 1 for r in rows)}
    for (op, place), rows in sorted(best.items()):
        if op in _LEFT_OUT and op not in losing:
            continue
        ratios = sorted(row["ratio_to_fastbrain"] for row in rows)
        slower = sorted((r for r in rows if r["ratio_low"] <= 1), key=lambda r: r["ratio_low"])
        # a case in several precisions is named once
        lost = [*dict.fromkeys(f"{row['case']} ({row['provider']})" for row in slower)]
        shown = ", ".join(lost[:2]) + (f" and {len(lost) - 2} more" if len(lost) > 2 else "")
        lines.append(
            f"| `{op}` | {place} | {len(rows)} | {ratios[-1]:.2f}x | {median(ratios):.2f}x "
            f"| {ratios[0]:.2f}x | {shown or 'nowhere'} |"
        )
    return "\n".join(lines)


def plot(best: dict[tuple[str, str], list[Row]], path: Path) -> None:
    """Draw the same ratios, one point a case, on a logarithmic axis."""
    names = sorted(best, reverse=True)
    with pyplot("plot") as plt:
        figure, axes = plt.subplots(figsize=(7, 0.6 + 0.28 * len(names)), layout="constrained")
        axes.axvline(1, color="0.5", linewidth=1)
        every = []
        for height, name in enumerate(names):
            ratios = [row["ratio_to_fastbrain"] for row in best[name]]
            every += ratios
            axes.plot(ratios, [height] * len(ratios), "o", color=BLUE, alpha=0.6, markersize=5)
        axes.set_xscale("log")
        axes.set_xlim(min(every) / 1.2, max(every) * 1.2)
        log_ticks(axes.xaxis, *axes.get_xlim())
        axes.set_yticks(range(len(names)), [f"{op} ({place})" for op, place in names])
        axes.set_xlabel("time of the strongest rival over ours (above 1, ours is faster)")
        write_atomic(path, saved(plt, figure))
