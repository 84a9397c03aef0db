"""Write the results of an experiment: table, figure and JSON."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .._io import write_atomic, write_json
from ..evaluation.report.print_style import check_matplotlib, saved
from .figures import drawn
from .results import Results, table

OUTPUTS = ("results.json", "table.md", "figure.svg", "figure.pdf")


def check_report() -> None:
    """Raise before the long work if the figure cannot be drawn.

    Raises
    ------
    MissingPartError
        matplotlib is not installed.
    """
    check_matplotlib()


def write_results(
    out: str | Path, results: Results, *, title: str, notes: Sequence[str] = ()
) -> str:
    """Write ``results.json``, ``table.md`` and the figure as SVG and PDF.

    Parameters
    ----------
    out : str or Path
        Folder of the experiment.
    results : Results
    title : str
        Heading of the table.
    notes : sequence of str
        Sentences below the heading.

    Returns
    -------
    str
        The table, for printing.
    """
    out = Path(out)
    whole = "\n\n".join([f"# {title}", *notes, table(results)]) + "\n"
    write_json(out / "results.json", results.to_json())
    write_atomic(out / "table.md", whole)
    figure = drawn(results)
    write_atomic(out / "figure.svg", saved(figure, "svg"))
    write_atomic(out / "figure.pdf", saved(figure, "pdf"))
    return whole
