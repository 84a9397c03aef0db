"""Figures of a report and of a paper, at print size: each function draws one matplotlib figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ...grid import TokenGrid
from ...layout import TokenLayout
from ..analyses.by_subject import person_of
from ..analyses.surprise import SurpriseBin
from ..controls.conditions import DERANGED
from ..scores import Score
from .print_style import (
    BLUE,
    COLORS,
    DOUBLE_MM,
    GREY,
    INCH_MM,
    PALE,
    SINGLE_MM,
    new_figure,
    printed,
)
from .table import LOWER, TITLES

# a mask this long in every direction covers a whole head: nilearn's glass brain can show it
_HEAD_MM = 90.0
_ACROSS = 3  # panels per row
_CURVES_MM = 66.0
_VAL = "val_"
_SMALL = 1e-6
_ROW_MM, _PANEL_MM, _KEY_MM = 4.2, 17.0, 9.0  # height of a line, of title and axis, of the key


@printed
def forest(scores: Sequence[Score]) -> Any:
    """Draw a forest plot: each score with its interval and the control's value on one line."""
    metrics = list(dict.fromkeys((s.metric, s.mode) for s in scores))
    lines = max([(s.metric, s.mode) for s in scores].count(m) for m in metrics)
    across, down = min(len(metrics), _ACROSS), -(-len(metrics) // _ACROSS)
    width = SINGLE_MM if across == 1 else DOUBLE_MM
    figure = new_figure(width, down * (_ROW_MM * lines + _PANEL_MM) + _KEY_MM)
    axes = figure.subplots(down, across, squeeze=False)
    for axis in axes.flat[len(metrics) :]:
        axis.set_axis_off()
    for axis, (metric, mode) in zip(axes.flat, metrics, strict=False):
        rows = [s for s in scores if (s.metric, s.mode) == (metric, mode)]
        _lines(axis, rows, [s.control for s in rows])
        # to the left there is room above the names of controls, to the right a figure may end
        axis.set_title(f"{TITLES.get(metric, metric)}\n({mode})", loc="right")
        if metric in LOWER:
            axis.set_xlabel("lower is better")
    _key(figure, "what it is compared with")
    return figure


@printed
def subjects(scores: Sequence[Score]) -> Any | None:
    """Draw the pairwise accuracy of every person against deranged brains; None for one person."""
    rows = [
        s for s in scores if s.metric == "pairwise" and s.control == DERANGED and person_of(s.group)
    ]
    if len(rows) < 2:
        return None
    mean = [s for s in scores if (s.metric, s.control, s.group) == ("pairwise", DERANGED, "people")]
    figure = new_figure(SINGLE_MM, _ROW_MM * len(rows + mean) + _PANEL_MM + _KEY_MM)
    axis = figure.subplots()
    _lines(axis, rows + mean, [person_of(s.group) or "mean of people" for s in rows + mean])
    axis.set_xlabel("pairwise accuracy (teacher-forced)")
    _key(figure, "chance")
    return figure


def _key(figure: Any, grey: str) -> None:
    from matplotlib.lines import Line2D

    figure.legend(
        handles=[
            Line2D(
                [], [], color=BLUE, marker="o", lw=1.4, ms=3.5, label="decoder and its interval"
            ),
            Line2D([], [], color=GREY, marker="D", lw=0, ms=3.5, label=grey),
        ],
        loc="outside lower center",
        ncols=2 if figure.get_figwidth() * INCH_MM > SINGLE_MM else 1,
        frameon=False,
    )


def _lines(axis: Any, rows: Sequence[Score], labels: Sequence[str]) -> None:
    for place, score in enumerate(rows):
        if score.interval is not None:
            axis.plot([score.interval.low, score.interval.high], [place, place], color=BLUE, lw=1.4)
        axis.plot(score.value, place, "o", color=BLUE, ms=3.5)
        axis.plot(score.chance, place, "D", color=GREY, ms=3.5)
    axis.set_yticks(range(len(rows)), labels)
    axis.set_ylim(len(rows) - 0.4, -0.6)
    axis.grid(axis="x", color=PALE)


@printed
def surprise_curve(bins: Sequence[SurpriseBin]) -> Any:
    """Plot pairwise accuracy from expected to surprising texts."""
    figure = new_figure(SINGLE_MM, 58)
    axis = figure.subplots()
    middle = [(b.low + b.high) / 2 for b in bins]
    value = [b.score.value for b in bins]
    low, high = (
        [getattr(b.score.interval, side) if b.score.interval else b.score.value for b in bins]
        for side in ("low", "high")
    )
    axis.fill_between(middle, low, high, color=BLUE, alpha=0.2, lw=0)
    axis.plot(middle, value, "o-", color=BLUE)
    axis.axhline(0.5, color=GREY, lw=0.8, ls="--")
    axis.set_xlabel("surprise of the true text without a brain (nats a token)")
    axis.set_ylabel("pairwise accuracy\n(teacher-forced)")
    return figure


@printed
def brain(
    grid: TokenGrid,
    value: npt.NDArray[np.float64] | None,
    affine: npt.NDArray[np.float64] | None,
) -> Any:
    """Draw token values over the mask; whole-head masks on nilearn's glass brain.

    Tokens of surfaces and parcels are drawn as points at their centres.
    """
    shown = np.ones(grid.n_tokens) if value is None else np.asarray(value, dtype=float)
    if isinstance(grid, TokenLayout):
        return _points(grid, shown, coloured=value is not None)
    volume = np.zeros(grid.shape)
    for (z, y, x), v in zip(grid.coords * np.asarray(grid.stride), shown, strict=True):
        kz, ky, kx = grid.kernel
        volume[z : z + kz, y : y + ky, x : x + kx] = v
    volume *= grid.mask
    if affine is not None and holds_a_head(grid, affine):
        return _glass_brain(volume, affine, "" if value is None else "saliency")
    return _projections(grid, volume, float(shown.max()) or 1.0, coloured=value is not None)


def _points(grid: TokenLayout, shown: npt.NDArray[np.float64], *, coloured: bool) -> Any:
    """Draw the centres of tokens from above, from the front and from the side; flat maps once."""
    views = [("from above", 0, 1), ("from the front", 0, 2), ("from the side", 1, 2)]
    if grid.positions == "flat":
        views = [("flat maps", 0, 1)]
    figure = new_figure(DOUBLE_MM, 62)
    axes = figure.subplots(1, len(views), squeeze=False)
    # large values last, so that they are not hidden
    order = np.argsort(shown, kind="stable")
    for axis, (title, across, up) in zip(axes[0], views, strict=True):
        x, y = grid.centers_mm[order, across], grid.centers_mm[order, up]
        picture = axis.scatter(x, y, c=shown[order] if coloured else GREY, s=4, cmap="inferno")
        axis.set_title(title)
        axis.set_aspect("equal")
        axis.set_axis_off()
    if coloured:
        figure.colorbar(picture, ax=axes[0].tolist(), shrink=0.7).set_label("saliency")
    return figure


def holds_a_head(grid: TokenGrid, affine: npt.NDArray[np.float64]) -> bool:
    """Return whether the mask of volumes is as large as a head in every direction."""
    if grid.geometry != "volume":
        return False
    corners = np.argwhere(grid.mask)[:, ::-1]
    size = np.abs(np.asarray(affine)[:3, :3]) @ (corners.max(axis=0) - corners.min(axis=0))
    return bool((size >= _HEAD_MM).all())


def _glass_brain(
    volume: npt.NDArray[np.float64], affine: npt.NDArray[np.float64], label: str
) -> Any:
    from nibabel.nifti1 import Nifti1Image
    from nilearn import plotting

    # axes are (z, y, x) in stores, (x, y, z) in images
    image = Nifti1Image(volume.transpose(2, 1, 0).astype(np.float32), affine)
    figure = new_figure(DOUBLE_MM, 62, tidy=False)
    drawn = plotting.plot_glass_brain(
        image,
        figure=figure,
        axes=(0.0, 0.0, 0.97, 1.0),
        colorbar=True,
        cmap="inferno",
        display_mode="ortho",
        annotate=False,
        # the default hides small values
        threshold=_SMALL * float(volume.max()),
    )
    drawn.annotate(size=8)
    figure.text(0.995, 0.5, label, rotation=90, ha="right", va="center")
    return figure


def _projections(
    grid: TokenGrid, volume: npt.NDArray[np.float64], top: float, *, coloured: bool
) -> Any:
    """Draw maximum projections along z, y and x: mask in grey, tokens in colour."""
    views = [("from above", 0), ("from the front", 1), ("from the side", 2)]
    views = [v for v in views if min(np.delete(grid.shape, v[1])) > 1]
    figure = new_figure(DOUBLE_MM if len(views) > 1 else SINGLE_MM, 62)
    axes = figure.subplots(1, len(views), squeeze=False)
    for axis, (title, dim) in zip(axes[0], views, strict=True):
        mask, projected = grid.mask.max(axis=dim), volume.max(axis=dim)
        axis.imshow(np.where(mask, 0.85, 1.0), cmap="gray", vmin=0, vmax=1, origin="lower")
        shown = np.ma.masked_where(~mask, projected)
        picture = axis.imshow(shown, cmap="inferno", alpha=0.9, origin="lower", vmin=0, vmax=top)
        axis.set_title(title)
        axis.set_axis_off()
    if coloured:
        figure.colorbar(picture, ax=axes[0].tolist(), shrink=0.7).set_label("saliency")
    return figure


@printed
def curves(history: Mapping[str, Sequence[Mapping[str, Any]]]) -> Any | None:
    """Plot the losses of each training stage by epoch; None if nothing was logged."""
    from matplotlib.ticker import MaxNLocator

    stages = {name: rows for name, rows in history.items() if rows}
    if not stages:
        return None
    down = -(-len(stages) // _ACROSS)
    across = -(-len(stages) // down)
    figure = new_figure(SINGLE_MM if across == 1 else DOUBLE_MM, _CURVES_MM * down)
    axes = figure.subplots(down, across, squeeze=False)
    for axis in axes.flat[len(stages) :]:
        axis.set_axis_off()
    for axis, (name, rows) in zip(axes.flat, stages.items(), strict=False):
        terms = list(dict.fromkeys(key for row in rows for key in row if key.endswith("loss")))
        bases = list(dict.fromkeys(term.removeprefix(_VAL) for term in terms))
        for term in terms:
            points = [(row["epoch"], row[term]) for row in rows if row.get(term) is not None]
            if not points:
                continue
            color = COLORS[bases.index(term.removeprefix(_VAL)) % len(COLORS)]
            dash = "--" if term.startswith(_VAL) else "-"
            marker = "." if len(points) < 9 else ""
            axis.plot(*zip(*points, strict=True), label=term, color=color, ls=dash, marker=marker)
        axis.set_title(name)
        axis.set_xlabel("epoch")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        if axis.lines:
            # below the axis, where it hides no curve
            place = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.22), "ncols": 2}
            axis.legend(**place, frameon=False)
    return figure
