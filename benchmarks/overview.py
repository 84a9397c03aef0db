"""The short form of the benchmark rows: one table and one plot for the README."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from statistics import median
from typing import Any

Row = dict[str, Any]
# points per inch of an SVG are fixed; a fixed salt and no date keep equal rows equal bytes
_STYLE = {"svg.hashsalt": "fastbrain", "svg.fonttype": "none", "font.size": 9}


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
    for row in rows:
        if row.get("ratio_to_fastbrain") is not None and "ratio_low" in row and is_rival(row):
            place = (row["op"], _short(row["env"].get("gpu", row["env"]["cpu"])))
            which = (row["env"]["threads"], row.get("dtype"), row.get("cache"), row.get("way"))
            cases[(*place, *which, row["case"])].append(row)
    found: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for (op, place, *_), rivals in cases.items():
        found[op, place].append(min(rivals, key=lambda row: row["ms_p50"]))
    return dict(found)


def _short(device: str) -> str:
    """Return the name of a processor without trade marks: ``Intel Xeon``."""
    return " ".join(device.replace("(R)", "").replace("(TM)", "").split()).removesuffix(
        " Processor"
    )


def headline(best: dict[tuple[str, str], list[Row]]) -> str:
    """Markdown table of the time of the strongest rival over ours, one line an operation."""
    lines = [
        "| operation | machine | cases | best | median | worst | where we lose or draw |",
        "|---|---|---|---|---|---|---|",
    ]
    for (op, place), rows in sorted(best.items()):
        ratios = sorted(row["ratio_to_fastbrain"] for row in rows)
        lost = [f"{row['case']} ({row['provider']})" for row in rows if row["ratio_low"] <= 1]
        shown = ", ".join(lost[:2]) + (f" and {len(lost) - 2} more" if len(lost) > 2 else "")
        lines.append(
            f"| `{op}` | {place} | {len(rows)} | {ratios[-1]:.2f}x | {median(ratios):.2f}x "
            f"| {ratios[0]:.2f}x | {shown or 'nowhere'} |"
        )
    return "\n".join(lines)


def plot(best: dict[tuple[str, str], list[Row]], path: Path) -> None:
    """Draw the same ratios, one point a case, on a logarithmic axis."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.ticker import NullFormatter, ScalarFormatter

    names = sorted(best, reverse=True)
    with mpl.rc_context(_STYLE):
        figure, axes = plt.subplots(figsize=(7, 0.6 + 0.28 * len(names)), layout="constrained")
        axes.axvline(1, color="0.5", linewidth=1)
        for height, name in enumerate(names):
            ratios = [row["ratio_to_fastbrain"] for row in best[name]]
            axes.plot(ratios, [height] * len(ratios), "o", color="#1f5fa8", alpha=0.6, markersize=5)
        axes.set_xscale("log")
        axes.set_xticks([1, 2, 5, 10, 50, 500])
        axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_yticks(range(len(names)), [f"{op} ({place})" for op, place in names])
        axes.set_xlabel("time of the strongest rival over ours (above 1, ours is faster)")
        axes.spines[["top", "right"]].set_visible(False)
        figure.savefig(path, metadata={"Date": None, "Creator": None})
        plt.close(figure)
