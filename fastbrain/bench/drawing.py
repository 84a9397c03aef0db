"""Drawing with matplotlib: one style, SVG of equal bytes for equal rows, logarithmic axes."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..errors import MissingPartError

BLUE, VERMILLION, GREY = "#0072B2", "#D55E00", "#6b6b6b"
# as many lines as have both a colour and a shape of their own
COLOURS = (BLUE, "#E69F00", "#009E73", "#CC79A7", VERMILLION, "#56B4E9", "#000000", "#8a7a00")
MARKERS = "osD^vP*X"
# a fixed salt and no date keep equal rows equal bytes
_STYLE: dict[Any, Any] = {
    "svg.hashsalt": "fastbrain",
    "svg.fonttype": "none",
    "font.size": 9,
    "font.family": "DejaVu Sans",
    "axes.spines.top": False,
    "axes.spines.right": False,
}


@contextmanager
def pyplot(function: str) -> Iterator[Any]:
    """Pyplot in the style of these pictures, without a screen.

    Raises
    ------
    MissingPartError
        matplotlib is not installed.
    """
    try:
        import matplotlib as mpl
    except ImportError as error:
        raise MissingPartError(
            f"{function}: matplotlib must be installed, got none. pip install "
            "'fastbrain-fmri[bench]'"
        ) from error
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    with mpl.rc_context(_STYLE):
        yield plt


def saved(plt: Any, figure: Any) -> bytes:
    """A figure as SVG; it is closed."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    plt.close(figure)
    return buffer.getvalue()


def log_ticks(axis: Any, low: float, high: float) -> None:
    """Plain numbers on a logarithmic axis: 1, 2, 5, or powers of ten on a long one."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter

    decades = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1)
    steps = (1, 2, 5) if math.log10(high / low) < 2.5 else (1,)
    ticks = [step * 10.0**decade for decade in decades for step in steps]
    axis.set_major_locator(FixedLocator([tick for tick in ticks if low <= tick <= high]))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())
