"""Figures of a report, as base64 PNG."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import MissingPartError
from ...grid import TokenGrid
from ..analyses.surprise import SurpriseBin
from ..scores import Score
from .table import TITLES

_BLUE, _GREY = "#1f5fa8", "#8a94a3"
# a mask this long in every direction covers a whole head: nilearn's glass brain can show it
_HEAD_MM = 90.0
_ACROSS = 3  # panels of the forest plot per row


def _pyplot() -> Any:
    try:
        import matplotlib
    except ImportError as error:
        raise MissingPartError(
            "write_report: pictures need matplotlib. pip install 'fastbrain-fmri[demo]'"
        ) from error
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    return plt


def _png(figure: Any) -> str:
    buffer = io.BytesIO()
    # no software version in the metadata: equal runs give equal bytes
    figure.savefig(buffer, format="png", dpi=110, bbox_inches="tight", metadata={"Software": None})
    _pyplot().close(figure)
    return base64.b64encode(buffer.getvalue()).decode()


def forest(scores: Sequence[Score]) -> str:
    """Draw a forest plot: each score with its interval and the control's value on one line."""
    plt = _pyplot()
    metrics = list(dict.fromkeys((s.metric, s.mode) for s in scores))
    lines = max([(s.metric, s.mode) for s in scores].count(m) for m in metrics)
    across, down = min(len(metrics), _ACROSS), -(-len(metrics) // _ACROSS)
    size = (3.4 * across, down * (0.24 * lines + 1.0))
    figure, axes = plt.subplots(down, across, figsize=size, squeeze=False)
    for axis in axes.flat[len(metrics) :]:
        axis.set_axis_off()
    for axis, (metric, mode) in zip(axes.flat, metrics, strict=False):
        rows = [s for s in scores if (s.metric, s.mode) == (metric, mode)]
        for place, score in enumerate(rows):
            # pairwise accuracy is computed per control: its interval differs by line
            low, high = (
                (score.value, score.value)
                if score.interval is None
                else (score.interval.low, score.interval.high)
            )
            axis.plot([low, high], [place, place], color=_BLUE, lw=2)
            axis.plot(score.value, place, "o", color=_BLUE, ms=5)
            axis.plot(score.chance, place, "D", color=_GREY, ms=5)
        axis.set_yticks(range(len(rows)), [s.control for s in rows], fontsize=8)
        axis.set_ylim(len(rows) - 0.4, -0.6)
        axis.set_title(f"{TITLES.get(metric, metric)}\n({mode})", fontsize=9)
        axis.tick_params(axis="x", labelsize=8)
        axis.grid(axis="x", color="#e6eaef")
    figure.tight_layout()
    return _png(figure)


def surprise_curve(bins: Sequence[SurpriseBin]) -> str:
    """Plot pairwise accuracy from expected to surprising texts."""
    plt = _pyplot()
    figure, axis = plt.subplots(figsize=(4.6, 2.9))
    middle = [(b.low + b.high) / 2 for b in bins]
    value = [b.score.value for b in bins]
    low, high = (
        [getattr(b.score.interval, side) if b.score.interval else b.score.value for b in bins]
        for side in ("low", "high")
    )
    axis.fill_between(middle, low, high, color=_BLUE, alpha=0.15, lw=0)
    axis.plot(middle, value, "o-", color=_BLUE)
    axis.axhline(0.5, color=_GREY, lw=1, ls="--")
    axis.set_xlabel("surprise of the true text without a brain (nats a token)", fontsize=8)
    axis.set_ylabel("pairwise accuracy\n(teacher-forced)", fontsize=8)
    axis.tick_params(labelsize=8)
    return _png(figure)


def brain(
    grid: TokenGrid,
    value: npt.NDArray[np.float64] | None,
    affine: npt.NDArray[np.float64] | None,
) -> str:
    """Draw token values over the mask; whole-head masks on nilearn's glass brain."""
    shown = np.ones(grid.n_tokens) if value is None else np.asarray(value, dtype=float)
    volume = np.zeros(grid.shape)
    for (z, y, x), v in zip(grid.coords * np.asarray(grid.stride), shown, strict=True):
        kz, ky, kx = grid.kernel
        volume[z : z + kz, y : y + ky, x : x + kx] = v
    volume *= grid.mask
    if affine is not None and _holds_a_head(grid, affine):
        return _glass_brain(volume, affine)
    return _projections(grid, volume, float(shown.max()) or 1.0, coloured=value is not None)


def _holds_a_head(grid: TokenGrid, affine: npt.NDArray[np.float64]) -> bool:
    corners = np.argwhere(grid.mask)[:, ::-1]
    size = np.abs(np.asarray(affine)[:3, :3]) @ (corners.max(axis=0) - corners.min(axis=0))
    return bool((size >= _HEAD_MM).all())


def _glass_brain(volume: npt.NDArray[np.float64], affine: npt.NDArray[np.float64]) -> str:
    from nibabel.nifti1 import Nifti1Image
    from nilearn import plotting

    # axes are (z, y, x) in stores, (x, y, z) in images
    image = Nifti1Image(volume.transpose(2, 1, 0).astype(np.float32), affine)
    figure = _pyplot().figure(figsize=(9, 3.2))
    plotting.plot_glass_brain(
        image, figure=figure, colorbar=True, cmap="inferno", display_mode="ortho"
    )
    return _png(figure)


def _projections(
    grid: TokenGrid, volume: npt.NDArray[np.float64], top: float, *, coloured: bool
) -> str:
    """Draw maximum projections along z, y and x: mask in grey, tokens in colour."""
    plt = _pyplot()
    views = [("from above", 0), ("from the front", 1), ("from the side", 2)]
    views = [v for v in views if min(np.delete(grid.shape, v[1])) > 1]
    figure, axes = plt.subplots(1, len(views), figsize=(3.4 * len(views), 3.4), squeeze=False)
    for axis, (title, dim) in zip(axes[0], views, strict=True):
        mask, projected = grid.mask.max(axis=dim), volume.max(axis=dim)
        axis.imshow(np.where(mask, 0.85, 1.0), cmap="gray", vmin=0, vmax=1, origin="lower")
        shown = np.ma.masked_where(~mask, projected)
        picture = axis.imshow(shown, cmap="inferno", alpha=0.9, origin="lower", vmin=0, vmax=top)
        axis.set_title(title, fontsize=10)
        axis.set_axis_off()
    if coloured:
        bar = figure.colorbar(picture, ax=axes[0].tolist(), shrink=0.7)
        bar.set_label("saliency", fontsize=9)
    return _png(figure)


def curves(history: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Plot the losses of each training stage by epoch; empty if nothing was logged."""
    stages = {name: rows for name, rows in history.items() if rows}
    if not stages:
        return ""
    plt = _pyplot()
    figure, axes = plt.subplots(1, len(stages), figsize=(3.6 * len(stages), 2.8), squeeze=False)
    for axis, (name, rows) in zip(axes[0], stages.items(), strict=True):
        terms = list(dict.fromkeys(key for row in rows for key in row if key.endswith("loss")))
        for term in terms:
            points = [(row["epoch"], row[term]) for row in rows if row.get(term) is not None]
            axis.plot(*zip(*points, strict=True), label=term, marker="." if len(points) < 9 else "")
        axis.set_title(name, fontsize=10)
        axis.set_xlabel("epoch")
        if terms:
            axis.legend(fontsize=7)
    figure.tight_layout()
    return _png(figure)
