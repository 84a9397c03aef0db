"""Figures of an experiment: a curve over an axis, or one line for each variant."""

from __future__ import annotations

from typing import Any

from ..evaluation.controls.conditions import DERANGED
from ..evaluation.report.print_style import (
    BLUE,
    DOUBLE_MM,
    GREY,
    PALE,
    SINGLE_MM,
    new_figure,
    printed,
)
from ..evaluation.report.table import TITLES
from .results import Cell, Results

_ACROSS = 3  # panels per row
_PANEL_MM, _ROW_MM, _HEAD_MM, _KEY_MM = 55.0, 4.6, 18.0, 8.0
_LONG = 28  # characters of a label; the table has the whole title


@printed
def drawn(results: Results) -> Any:
    """Draw every metric in a panel: scores with intervals, and deranged brains in grey.

    Variants with values on an axis are points of a curve; others are lines under each other.

    Raises
    ------
    MissingPartError
        matplotlib is not installed.
    """
    metrics = results.metrics
    across, down = min(len(metrics), _ACROSS), -(-len(metrics) // _ACROSS)
    curve = len(results.values) == len(results.titles) > 1
    panel = _PANEL_MM if curve else _ROW_MM * len(results.titles) + _HEAD_MM
    figure = new_figure(SINGLE_MM if across == 1 else DOUBLE_MM, down * panel + _KEY_MM)
    axes = figure.subplots(down, across, squeeze=False, sharey=not curve)
    for axis in axes.flat[len(metrics) :]:
        axis.set_axis_off()
    for axis, metric in zip(axes.flat, metrics, strict=False):
        cells = [cell for cell in results.cells if cell.metric == metric]
        if curve:
            _curve(axis, sorted(cells, key=lambda c: results.values[c.variant]), results)
        else:
            _lines(axis, cells, results)
        mode = "\n(teacher-forced)" if metric == "pairwise" else ""
        axis.set_title(f"{TITLES.get(metric, metric)}{mode}")
    _key(figure)
    return figure


def _curve(axis: Any, cells: list[Cell], results: Results) -> None:
    places = [results.values[cell.variant] for cell in cells]
    low = [cell.interval.low if cell.interval else cell.value for cell in cells]
    high = [cell.interval.high if cell.interval else cell.value for cell in cells]
    axis.fill_between(places, low, high, color=BLUE, alpha=0.2, lw=0)
    axis.plot(places, [cell.value for cell in cells], "o-", color=BLUE)
    known = [(x, c.chance) for x, c in zip(places, cells, strict=True) if c.chance is not None]
    if known:
        axis.plot(*zip(*known, strict=True), "D--", color=GREY, lw=0.8)
    axis.set_xlabel(results.axis)
    axis.grid(axis="y", color=PALE)


def _lines(axis: Any, cells: list[Cell], results: Results) -> None:
    for place, cell in enumerate(cells):
        if cell.interval is not None:
            axis.plot([cell.interval.low, cell.interval.high], [place, place], color=BLUE, lw=1.4)
        axis.plot(cell.value, place, "o", color=BLUE, ms=3.5)
        if cell.chance is not None:
            axis.plot(cell.chance, place, "D", color=GREY, ms=3.5)
    titles = [results.titles[cell.variant] for cell in cells]
    short = [t if len(t) <= _LONG else f"{t[: _LONG - 1]}…" for t in titles]
    axis.set_yticks(range(len(cells)), short)
    axis.set_ylim(len(cells) - 0.4, -0.6)
    axis.grid(axis="x", color=PALE)


def _key(figure: Any) -> None:
    from matplotlib.lines import Line2D

    figure.legend(
        handles=[
            Line2D([], [], color=BLUE, marker="o", lw=1.4, ms=3.5, label="score and its interval"),
            Line2D([], [], color=GREY, marker="D", lw=0, ms=3.5, label=DERANGED),
        ],
        loc="outside lower center",
        ncols=2,
        frameon=False,
    )
