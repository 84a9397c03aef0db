"""Report, table of people and figures of an evaluated run of the fMRI language model."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import __version__
from .._io import write_atomic
from ..data.readers.tables import tsv_text
from ..evaluation.report.html import environment, render
from ..evaluation.report.print_style import (
    BLUE,
    DOUBLE_MM,
    GREY,
    check_matplotlib,
    new_figure,
    printed,
    saved,
)
from ..evaluation.report.table import score_rows
from .evaluate import VQLMResult

REPORTS = ("report.html", "subjects.md", "paper/scores.tsv")
_FIRST = ("digits, calibrated", "words")
_SHOWN = 3  # methods in the figure
_PANEL_MM = 60.0


def check_report() -> None:
    """Raise :class:`MissingPartError` if a report cannot be drawn; call it before long work."""
    check_matplotlib()


def write_report(
    run: Path,
    result: VQLMResult,
    truth: Mapping[str, Any],
    *,
    target: str,
    labels: Sequence[str],
    data: Mapping[str, str],
) -> None:
    """Write ``report.html``, ``subjects.md`` and ``paper/`` of a run.

    Parameters
    ----------
    run : Path
    result : VQLMResult
    truth : mapping
        True value of each test person.
    target : str
        Column that was predicted.
    labels : sequence of str
        Labels in the order of their probabilities; empty for a number.
    data : mapping of str to str
        Facts about study and split.
    """
    rows = people_rows(result.predicted, truth, labels)
    columns = list(rows[0])
    lines = [
        f"# {target} of the test people\n",
        f"| {' | '.join(columns)} |",
        f"|{'---|' * len(columns)}",
        *(f"| {' | '.join(row.values())} |" for row in rows),
    ]
    write_atomic(run / "subjects.md", "\n".join(lines) + "\n")
    figure = None if labels else predictions(result.predicted, truth, target)
    html = render(
        "people.html.j2",
        title=f"fastbrain: {target} from resting codes",
        target=target,
        scores=score_rows(result.scores),
        coding=result.coding,
        people=rows,
        figure="" if figure is None else base64.b64encode(saved(figure, "png")).decode(),
        data=data,
        environment=environment(),
        version=__version__,
    )
    write_atomic(run / "report.html", html)
    paper = run / "paper"
    names = ["metric", "group", "value", "interval", "chance", "control", "p", "n"]
    table = [[str(row[name]) for name in names] for row in score_rows(result.scores)]
    write_atomic(paper / "scores.tsv", tsv_text(names, table))
    if figure is not None:
        write_atomic(paper / "figures" / "predictions.svg", saved(figure, "svg"))
        write_atomic(paper / "figures" / "predictions.pdf", saved(figure, "pdf"))


def people_rows(
    predicted: Mapping[str, Mapping[str, Any]], truth: Mapping[str, Any], labels: Sequence[str]
) -> list[dict[str, str]]:
    """One row for each test person: true value, then the value of every prediction method."""
    rows = []
    for person, value in truth.items():
        row = {"participant": person, "true": value if labels else f"{float(value):.1f}"}
        for way, values in predicted.items():
            found = values[person]
            if labels:
                best = max(range(len(labels)), key=found.__getitem__)
                row[way] = f"{labels[best]} ({found[best]:.2f})"
            else:
                row[way] = f"{found:.1f}"
        rows.append(row)
    return rows


@printed
def predictions(
    predicted: Mapping[str, Mapping[str, float]], truth: Mapping[str, float], target: str
) -> Any:
    """Draw predicted against true values of the test people, one panel for each method."""
    order = sorted(predicted, key=lambda way: (way not in _FIRST, way == "mean"))
    ways = [*order[: _SHOWN - 1], "connectivity ridge"]
    ways = [way for way in dict.fromkeys(ways) if way in predicted]
    figure = new_figure(DOUBLE_MM, _PANEL_MM)
    known = [float(value) for value in truth.values()]
    ends = [min(known), max(known)]
    for axis, way in zip(figure.subplots(1, len(ways), squeeze=False)[0], ways, strict=True):
        axis.plot(ends, ends, color=GREY, lw=0.8, ls="--")
        axis.plot(known, [predicted[way][p] for p in truth], "o", color=BLUE, ms=3.5)
        axis.set_title(way)
        axis.set_xlabel(f"true {target}")
    figure.axes[0].set_ylabel(f"predicted {target}")
    return figure
