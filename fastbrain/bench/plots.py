"""Pictures of rows as SVG: ratios, the roofline, latencies.

Colours are those of Okabe and Ito, which people with any colour vision tell apart; every colour
also has a shape of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .drawing import BLUE, COLOURS, GREY, MARKERS, VERMILLION, log_ticks, pyplot, saved
from .rows import OURS, Row
from .tables import Duel

# verdict to colour and marker
_VERDICTS = {"faster": (BLUE, "o"), "draw": (GREY, "s"), "slower": (VERMILLION, "D")}
# a ratio beyond it is an arrow at the edge: one would press all others together
_WIDEST = 20.0
_ROW_IN, _WIDTH_IN = 0.21, 8.2


def _lined(duels: Sequence[Duel]) -> list[tuple[str, Duel | None]]:
    """Lines from the top: the name of an op, then its cases."""
    lines: list[tuple[str, Duel | None]] = []
    for op in dict.fromkeys(duel.op for duel in duels):
        lines.append((op, None))
        lines += [(duel.label, duel) for duel in duels if duel.op == op]
    return lines


def _y_axis(axes: Any, lines: Sequence[tuple[str, Duel | None]]) -> None:
    axes.set_yticks(range(len(lines)), [name for name, _ in lines])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(lines) - 0.4, -0.8)
    for label, (_, duel) in zip(axes.get_yticklabels(), lines, strict=True):
        if duel is None:
            label.set_fontweight("bold")


def ratio_plot(duels: Sequence[Duel]) -> bytes:
    """Time of the strongest rival over ours on each case, with its 95 % interval.

    Parameters
    ----------
    duels : sequence of Duel
        Of one machine.

    Returns
    -------
    bytes
        SVG.

    Raises
    ------
    MissingPartError
        matplotlib is not installed.
    """
    lines = _lined(duels)
    with pyplot("ratio_plot") as plt:
        size = (_WIDTH_IN, 1.1 + _ROW_IN * len(lines))
        figure, axes = plt.subplots(figsize=size, layout="constrained")
        axes.axvline(1, color="0.4", linewidth=1, zorder=0)
        ends = [1.0]
        for height, (_, duel) in enumerate(lines):
            if duel is None:
                continue
            row, (colour, marker) = duel.best, _VERDICTS[duel.verdict]
            middle, low, high = (row[f"ratio_{end}"] for end in ("to_fastbrain", "low", "high"))
            ends += [low, high]
            axes.plot([low, high], [height, height], color=colour, linewidth=1.4)
            if middle > _WIDEST:
                # its label has the number
                axes.plot(_WIDEST, height, ">", color=colour, markersize=4.5, clip_on=False)
            else:
                axes.plot(middle, height, marker, color=colour, markersize=4.5)
            axes.annotate(
                f"{row['provider']}  {middle:.2f}x",
                (1.01, height),
                xycoords=("axes fraction", "data"),
                va="center",
                color=colour,
                fontsize=8,
                annotation_clip=False,
            )
        axes.set_xscale("log")
        axes.set_xlim(min(ends) / 1.15, min(max(ends) * 1.15, _WIDEST))
        axes.grid(axis="x", color="0.92", zorder=0)
        axes.set_axisbelow(True)
        log_ticks(axes.xaxis, *axes.get_xlim())
        _y_axis(axes, lines)
        axes.set_xlabel("time of the strongest rival over that of fastbrain, 95 % interval")
        named = {"faster": "fastbrain faster", "draw": "no difference", "slower": "rival faster"}
        for verdict, (colour, marker) in _VERDICTS.items():
            axes.plot([], [], marker, color=colour, markersize=4.5, label=named[verdict])
        figure.legend(loc="outside upper left", ncols=3, frameon=False, fontsize=8)
        return saved(plt, figure)


def roofline_plot(rows: Sequence[Row]) -> bytes:
    """Measured roofline of a machine, with each case of ours and of its strongest rival.

    Parameters
    ----------
    rows : sequence of dict
        Of one machine, precision and number of threads, with a row ``roofline``.

    Returns
    -------
    bytes
        SVG.

    Raises
    ------
    MissingPartError
        matplotlib is not installed.
    """
    best = [row for row in rows if row["op"] == "roofline"][-1]
    points = _points(rows)
    with pyplot("roofline_plot") as plt:
        figure, axes = plt.subplots(figsize=(_WIDTH_IN, 4.8), layout="constrained")
        at = [x for x, *_ in points] or [1.0]
        low, high = min([*at, 0.5]) / 1.5, max([*at, 2 * best["gflops"] / best["gbytes"]]) * 1.5
        ridge = best["gflops"] / best["gbytes"]
        roof = [best["gbytes"] * low, best["gflops"], best["gflops"]]
        said = f"{best['gbytes']:.0f} GB/s (copy)\n{best['gflops']:.0f} GFLOP/s (product)"
        axes.plot([low, ridge, high], roof, color="0.2", linewidth=1.4, zorder=1, label=said)
        ops = list(dict.fromkeys(op for *_, op, _ in points))
        for number, op in enumerate(ops):
            colour = COLOURS[number % 8]
            # after all colours, the same ones with other shapes
            marker = MARKERS[(number + 3 * (number // 8)) % 8]
            for is_ours in (True, False):
                own = [(x, y) for x, y, name, ours in points if (name, ours) == (op, is_ours)]
                if own:
                    axes.plot(
                        *zip(*own, strict=True),
                        marker,
                        color=colour,
                        markersize=5.5,
                        alpha=0.85,
                        markerfacecolor=colour if is_ours else "none",
                        linestyle="none",
                        label=op if is_ours else None,
                    )
        axes.plot(
            [], [], "o", color="0.3", markerfacecolor="none", label="strongest rival (hollow)"
        )
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlim(low, high)
        log_ticks(axes.xaxis, *axes.get_xlim())
        log_ticks(axes.yaxis, *axes.get_ylim())
        axes.set_xlabel("operations a byte of main memory")
        axes.set_ylabel("GFLOP/s")
        figure.legend(loc="outside right upper", frameon=False, fontsize=8)
        return saved(plt, figure)


def _points(rows: Sequence[Row]) -> list[tuple[float, float, str, bool]]:
    """Intensity, GFLOP/s, op and whether it is ours, of ours and the strongest rivals."""
    from .tables import duels

    found = []
    for duel in duels(rows):
        for row in (duel.own, duel.best):
            if row is not None and row.get("gbytes"):
                place = row["gflops"] / row["gbytes"], row["gflops"]
                found.append((*place, duel.op, row["provider"] == OURS))
    return found


def latency_plot(duels: Sequence[Duel]) -> bytes:
    """Latency of ours and of the strongest rival on each case: 20, 50 and 80 % of the calls.

    Parameters
    ----------
    duels : sequence of Duel
        Of one machine.

    Returns
    -------
    bytes
        SVG.

    Raises
    ------
    MissingPartError
        matplotlib is not installed.
    """
    lines = _lined(duels)
    with pyplot("latency_plot") as plt:
        size = (_WIDTH_IN, 1.1 + 1.25 * _ROW_IN * len(lines))
        figure, axes = plt.subplots(figsize=size, layout="constrained")
        times: list[float] = []
        for height, (_, duel) in enumerate(lines):
            if duel is None:
                continue
            for shift, row, colour, marker in (
                (-0.17, duel.own, BLUE, "o"),
                (0.17, duel.best, VERMILLION, "D"),
            ):
                if row is None:
                    continue
                p20, p50, p80 = (row[f"ms_p{n}"] for n in (20, 50, 80))
                times += [p20, p80]
                axes.plot(
                    [p20, p80],
                    [height + shift] * 2,
                    color=colour,
                    linewidth=2.6,
                    alpha=0.45,
                    solid_capstyle="butt",
                )
                axes.plot(p50, height + shift, marker, color=colour, markersize=3.6)
        axes.set_xscale("log")
        axes.set_xlim(min(times) / 1.3, max(times) * 1.3)
        log_ticks(axes.xaxis, *axes.get_xlim())
        axes.grid(axis="x", color="0.9", zorder=0)
        _y_axis(axes, lines)
        axes.set_xlabel("milliseconds a call: median, and 20 to 80 %")
        for name, colour, marker in ((OURS, BLUE, "o"), ("strongest rival", VERMILLION, "D")):
            axes.plot([], [], marker, color=colour, markersize=4.5, label=name)
        figure.legend(loc="outside upper left", ncols=2, frameon=False, fontsize=8)
        return saved(plt, figure)
