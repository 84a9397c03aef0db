"""Size, fonts and colours of printed figures, and saving them as PNG, SVG and PDF.

Widths are those of one and two columns of most journals. Saved files have no date and no random
identifiers, so equal figures have equal bytes.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import wraps
from typing import Any, Literal, TypeVar

from ...errors import MissingPartError

SINGLE_MM, DOUBLE_MM = 88.0, 180.0
INCH_MM = 25.4
_PNG_DPI = 160

# Okabe and Ito's colours, which colour-blind people can tell apart
BLUE, ORANGE, GREEN, VERMILION, PURPLE = "#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7"
BLACK, GREY, PALE = "#000000", "#7f7f7f", "#e6eaef"
COLORS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, BLACK, GREY)
_STYLE = {
    "font.family": "DejaVu Sans",  # part of matplotlib: the same on every machine
    "font.size": 7.0,
    "axes.titlesize": 8.0,
    "axes.labelsize": 7.0,
    "xtick.labelsize": 7.0,
    "ytick.labelsize": 7.0,
    "legend.fontsize": 7.0,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "lines.linewidth": 1.2,
    "lines.markersize": 4.0,
    # text stays text, for editing
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
    # identifiers are random without it
    "svg.hashsalt": "fastbrain",
}
_METADATA: dict[str, dict[str, Any]] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}

Kind = Literal["png", "svg", "pdf"]
F = TypeVar("F", bound=Callable[..., Any])


def check_matplotlib() -> None:
    """Raise :class:`MissingPartError` if matplotlib is not installed."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise MissingPartError(
            "write_report: pictures need matplotlib. pip install 'fastbrain-fmri[demo]'"
        ) from error


def printed(function: F) -> F:
    """Run a function with matplotlib's defaults and the style of printed figures.

    Raises
    ------
    MissingPartError
        matplotlib is not installed.
    """

    @wraps(function)
    def call(*args: Any, **options: Any) -> Any:
        check_matplotlib()
        from matplotlib import style

        # "default" takes back the settings of the user's matplotlibrc
        with style.context(["default", _STYLE]):
            return function(*args, **options)

    return call  # type: ignore[return-value]


def new_figure(width_mm: float, height_mm: float, *, tidy: bool = True) -> Any:
    """Make an empty figure of a printed size; `tidy` keeps labels inside it."""
    from matplotlib.figure import Figure

    return Figure(
        figsize=(width_mm / INCH_MM, height_mm / INCH_MM), layout="constrained" if tidy else None
    )


@printed
def saved(figure: Any, kind: Kind) -> bytes:
    """Return a figure as the bytes of a file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, dpi=_PNG_DPI, metadata=_METADATA[kind])
    # the layout stays for the other kinds: finding it takes as long as drawing
    figure.set_layout_engine("none")
    return buffer.getvalue()
