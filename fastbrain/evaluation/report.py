"""One offline HTML file a run: scores, examples, a picture of the brain tokens, curves."""

from __future__ import annotations

import base64
import io
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import __version__
from .._io import write_atomic
from ..errors import MissingPartError
from ..grid import TokenGrid
from .protocol import Evaluation
from .table import score_rows
from .text import rouge_l

_PACKAGES = ("torch", "transformers", "accelerate", "numpy", "nibabel", "nilearn", "sacrebleu")


@dataclass(frozen=True)
class ReportParts:
    """What a report shows beside the scores; every part may be left out.

    Parameters
    ----------
    title, lead : str
        Heading and the sentence under it.
    data : mapping of str to str
        Facts about cohort, split and windows.
    history : mapping of str to sequence of mapping
        Log rows of each training stage, each with ``epoch`` and loss terms.
    grid : TokenGrid, optional
    saliency : ndarray, (n_tokens,) float, optional
        How much each token matters; any non-negative unit.
    notes : sequence of str
        Warnings that must not scroll by.
    """

    title: str = "fastbrain: decoded text"
    lead: str = ""
    data: Mapping[str, str] = field(default_factory=dict)
    history: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    grid: TokenGrid | None = None
    saliency: npt.NDArray[np.float64] | None = None
    notes: Sequence[str] = ()


def write_report(path: str | Path, evaluation: Evaluation, parts: ReportParts) -> Path:
    """Write the report of one evaluation.

    Parameters
    ----------
    path : str or Path
        The HTML file. It loads nothing from anywhere, and every text in it is escaped.
    evaluation : Evaluation
    parts : ReportParts

    Raises
    ------
    MissingPartError
        matplotlib is not installed.
    """
    from jinja2 import Environment, PackageLoader, select_autoescape

    environment = Environment(
        loader=PackageLoader("fastbrain.evaluation", "."),
        autoescape=select_autoescape(["j2", "html"], default=True),
        trim_blocks=True,
    )
    metrics = evaluation.metrics
    html = environment.get_template("report.html.j2").render(
        title=parts.title,
        lead=parts.lead,
        scores=score_rows(metrics),
        n=metrics["n"],
        n_derangements=metrics["n_derangements"],
        notes=parts.notes,
        examples=_examples(evaluation),
        brain=_brain_picture(parts.grid, parts.saliency) if parts.grid is not None else "",
        brain_caption=_brain_caption(parts),
        curves=_curves(parts.history) if parts.history else "",
        data=parts.data,
        signatures=metrics["signatures"],
        environment=_environment(),
        version=__version__,
    )
    return write_atomic(path, html)


def _examples(evaluation: Evaluation, first: int = 12) -> list[dict[str, str]]:
    samples = evaluation.samples
    score = rouge_l([s.decoded for s in samples], [s.truth for s in samples])[0][:, 2]
    order = np.argsort(-score, kind="stable")
    ranked = [("best", order[0]), ("median", order[len(order) // 2]), ("worst", order[-1])]
    ranked += [(str(i + 1), i) for i in range(min(first, len(samples)))]
    return [
        {
            "rank": rank,
            "truth": samples[i].truth,
            "decoded": samples[i].decoded,
            "permuted": evaluation.permuted[i],
        }
        for rank, i in ranked
    ]


def _pyplot() -> Any:
    try:
        import matplotlib
    except ImportError as error:
        raise MissingPartError(
            "write_report: pictures need matplotlib. pip install 'fastbrain[demo]'"
        ) from error
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    return plt


def _png(figure: Any) -> str:
    buffer = io.BytesIO()
    # no date inside: equal runs give equal bytes
    figure.savefig(buffer, format="png", dpi=110, bbox_inches="tight", metadata={"Software": None})
    _pyplot().close(figure)
    return base64.b64encode(buffer.getvalue()).decode()


def _brain_caption(parts: ReportParts) -> str:
    if parts.grid is None:
        return ""
    kernel = "×".join(str(k) for k in reversed(parts.grid.kernel))
    text = f"{parts.grid.n_tokens} tokens of {kernel} voxels over the brain mask (grey)."
    if parts.saliency is not None:
        text += (
            " Colour: gradient of the true text's likelihood with respect to each token, times the "
            "token, in absolute value and averaged over the test windows."
        )
    return text


def _brain_picture(grid: TokenGrid, saliency: npt.NDArray[np.float64] | None) -> str:
    """Maximum projections along z, y and x: mask in grey, tokens in colour."""
    plt = _pyplot()
    value = np.ones(grid.n_tokens) if saliency is None else np.asarray(saliency, dtype=float)
    volume = np.zeros(grid.shape)
    for (z, y, x), v in zip(grid.coords * np.asarray(grid.stride), value, strict=True):
        kz, ky, kx = grid.kernel
        volume[z : z + kz, y : y + ky, x : x + kx] = v
    volume *= grid.mask
    views = [("from above", 0), ("from the front", 1), ("from the side", 2)]
    views = [v for v in views if min(np.delete(grid.shape, v[1])) > 1]
    figure, axes = plt.subplots(1, len(views), figsize=(3.4 * len(views), 3.4), squeeze=False)
    for axis, (title, dim) in zip(axes[0], views, strict=True):
        mask, projected = grid.mask.max(axis=dim), volume.max(axis=dim)
        axis.imshow(np.where(mask, 0.85, 1.0), cmap="gray", vmin=0, vmax=1, origin="lower")
        shown = np.ma.masked_where(~mask, projected)
        picture = axis.imshow(
            shown, cmap="inferno", alpha=0.9, origin="lower", vmin=0, vmax=float(value.max()) or 1
        )
        axis.set_title(title, fontsize=10)
        axis.set_axis_off()
    if saliency is not None:
        bar = figure.colorbar(picture, ax=axes[0].tolist(), shrink=0.7)
        bar.set_label("saliency", fontsize=9)
    return _png(figure)


def _curves(history: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    plt = _pyplot()
    stages = {name: rows for name, rows in history.items() if rows}
    if not stages:
        return ""
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


def _environment() -> dict[str, str]:
    facts = {"Python": platform.python_version(), "machine": platform.machine()}
    for name in _PACKAGES:
        try:
            facts[name] = version(name)
        except PackageNotFoundError:
            facts[name] = "not installed"
    return facts
