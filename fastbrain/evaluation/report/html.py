"""Offline HTML report of a run: scores with controls, examples, data, audit, figures."""

from __future__ import annotations

import base64
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ... import __version__
from ..._arguments import checked
from ..._io import write_atomic
from ...grid import TokenGrid
from ...layout import TokenLayout
from ..analyses.against_controls import HEADLINES
from ..analyses.brain_use import brain_use_message
from ..analyses.store_ceiling import ceiling_lines
from ..controls.conditions import DERANGED
from ..metrics.corpus import rouge_l
from ..protocol import Evaluation
from ..scores import Score
from . import figures as pictures
from . import written
from .print_style import saved
from .table import TITLES, derangements_drawn, linear_first, main_scores, no_brain_first, score_rows
from .training_terms import training_terms

_PACKAGES = ("torch", "transformers", "accelerate", "numpy", "nibabel", "nilearn", "sacrebleu")
_SHOWN_CONTROLS = ("zero brain", "prompt alone", "untuned model", "nearest training text")
_FIRST = 12
_CLIPPED = 200  # characters of an example; keeps reports of long texts small


@dataclass(frozen=True)
class ReportParts:
    """Parts of a report besides the scores; all are optional.

    Parameters
    ----------
    title, lead : str
        Heading and the sentence below it.
    data : mapping of str to str
        Facts about cohort, split and windows.
    quality : sequence of mapping
        One row per run: ``run``, ``volumes``, ``clipped`` (share of stored values at the limit),
        ``dead voxels`` and ``notes``.
    audit : mapping, optional
        :meth:`fastbrain.data.Audit.to_json`.
    history : mapping of str to sequence of mapping
        Log rows of each training stage, each with ``epoch`` and loss terms.
    grid : TokenGrid, optional
    affine : ndarray, (4, 4), optional
        Voxel (x, y, z) to mm; if given, a whole head is drawn on a glass brain.
    saliency : ndarray, (n_tokens,) float, optional
        Importance of each token, in any non-negative unit.
    notes : sequence of str
        Warnings to show in the report.
    """

    title: str = "fastbrain: decoded text"
    lead: str = ""
    data: Mapping[str, str] = field(default_factory=dict)
    quality: Sequence[Mapping[str, Any]] = ()
    audit: Mapping[str, Any] | None = None
    history: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    grid: TokenGrid | None = None
    affine: npt.NDArray[np.float64] | None = None
    saliency: npt.NDArray[np.float64] | None = None
    notes: Sequence[str] = ()


@checked
def write_report(
    path: str | Path,
    evaluation: Evaluation,
    parts: ReportParts,
    figures: Mapping[str, Any] | None = None,
) -> Path:
    """Write the report of one evaluation.

    Parameters
    ----------
    path : str or Path
        The HTML file. It loads no external resources, and all texts in it are escaped.
    evaluation : Evaluation
    parts : ReportParts
    figures : mapping of str to matplotlib figure, optional
        From :func:`fastbrain.evaluation.report.html.drawn`; default: drawn here.

    Raises
    ------
    MissingPartError
        matplotlib is not installed.
    """
    scores, found = evaluation.scores, evaluation.conditions
    rows = score_rows(scores)
    figures = drawn(evaluation, parts) if figures is None else figures
    terms, validation = training_terms(parts.history)
    fluency = written.fluency_rows(evaluation.facts)
    main = score_rows(main_scores(scores))
    html = render(
        "report.html.j2",
        title=parts.title,
        lead=parts.lead,
        first=" ".join(filter(None, (no_brain_first(scores), linear_first(evaluation.facts)))),
        linear=evaluation.facts.get("linear_baseline"),
        ceilings=ceiling_lines(evaluation.facts),
        main=main,
        rows=rows,
        n=len(evaluation.samples),
        apart=[f"{k} {parts.data[k]}" for k in ("adapted on", "fitted to") if k in parts.data],
        least=_least_p(evaluation, main),
        gain=any(row["metric"] == "surprise_effect" for row in main),
        derangements=derangements_drawn(len(found.partners), found.distinct),
        partners=evaluation.facts.get("partners", ""),
        family=sum(bool(row["p"]) for row in rows),
        controls=[(c.name, c.note) for c in found],
        diversity=evaluation.diversity,
        notes=parts.notes,
        audit=parts.audit,
        quality=parts.quality,
        ignored=brain_use_message(evaluation.facts),
        pairs=written.written_pairs(evaluation),
        identified=written.identification_rows(scores, evaluation.facts),
        fluency=fluency,
        judged=any(row["nll"] != "-" for row in fluency),
        terms=terms,
        validation=validation,
        examples=_examples(evaluation),
        shown_controls=[name for name in _SHOWN_CONTROLS if name in found.controls],
        **{name: _png(figure) for name, figure in figures.items()},
        brain_caption=brain_caption(parts),
        data=parts.data,
        environment=environment(),
        version=__version__,
    )
    return write_atomic(path, html)


def _least_p(evaluation: Evaluation, rows: Sequence[Mapping[str, Any]]) -> str:
    """Smallest p that the derangements allow; "" where some or all p are not from them."""
    found = evaluation.conditions
    if found.rewritten is not None or not any(row["p"] for row in rows):
        return ""
    return f"{1 / (1 + found.distinct):.4f}"


def render(template: str, **values: Any) -> str:
    """Render a template of the package; all values are escaped."""
    from jinja2 import Environment, PackageLoader, select_autoescape

    environment = Environment(
        loader=PackageLoader("fastbrain.evaluation.report", "."),
        autoescape=select_autoescape(["j2", "html"], default=True),
        trim_blocks=True,
    )
    return environment.get_template(template).render(**values)


def environment() -> dict[str, str]:
    """Versions of Python and of the packages that scores depend on, and the machine."""
    facts = {"Python": platform.python_version(), "machine": platform.machine()}
    for name in _PACKAGES:
        try:
            facts[name] = version(name)
        except PackageNotFoundError:
            facts[name] = "not installed"
    return facts


def drawn(evaluation: Evaluation, parts: ReportParts) -> dict[str, Any]:
    """Draw the figures of an evaluation by name; None where there is nothing to show.

    Raises
    ------
    MissingPartError
        matplotlib is not installed.
    """
    compared, grid = _compared(evaluation), parts.grid
    bins = evaluation.surprise
    return {
        "forest": pictures.forest(compared) if compared else None,
        "identification": written.identification_curves(evaluation.facts),
        "surprise": pictures.surprise_curve(bins) if bins else None,
        "brain": None if grid is None else pictures.brain(grid, parts.saliency, parts.affine),
        "curves": pictures.curves(parts.history),
        "subjects": pictures.subjects(evaluation.scores),
    }


def _png(figure: Any | None) -> str:
    return "" if figure is None else base64.b64encode(saved(figure, "png")).decode()


def _compared(evaluation: Evaluation) -> list[Score]:
    """Select the scores of the forest plot, and put the linear baseline in the place of chance."""
    order = ["pairwise", *(name for name in TITLES if name in HEADLINES), "meaning_top1"]
    kept = [
        s
        for s in evaluation.scores
        if s.chance is not None
        and not s.group
        and s.mode in ("teacher-forced", "free-running", "retrieval")
        and s.metric in order
    ]
    for row in (evaluation.facts.get("linear_baseline") or {}).get("comparison", ()):
        kept += [
            replace(s, chance=row["linear"], control="ridge regression", p=row["p"])
            for s in kept
            if (s.metric, s.control) == (row["metric"], DERANGED)
        ]
    return sorted(kept, key=lambda s: order.index(s.metric))


def _examples(evaluation: Evaluation) -> list[dict[str, Any]]:
    samples, found = evaluation.samples, evaluation.conditions
    score = rouge_l([s.decoded for s in samples], [s.truth for s in samples])[0][:, 2]
    order = np.argsort(-score, kind="stable")
    ranked = [("best", order[0]), ("median", order[len(order) // 2]), ("worst", order[-1])]
    ranked += [(str(i + 1), i) for i in range(min(_FIRST, len(samples)))]
    permuted = evaluation.permuted
    return [
        {
            "rank": rank,
            "truth": written.clip(samples[i].truth, _CLIPPED),
            "decoded": written.clip(samples[i].decoded, _CLIPPED),
            DERANGED: written.clip(permuted[i], _CLIPPED),
            **{
                name: written.clip(texts[i], _CLIPPED)
                for name in _SHOWN_CONTROLS
                if name in found.controls and (texts := found[name].texts) is not None
            },
        }
        for rank, i in ranked
    ]


_PLACES = {
    "anatomical": "",
    "flat": " They are squares on flat maps of the left and right hemisphere; tokens of the "
    "subcortex are drawn below, from above.",
    "order": " Their places in the brain are not known: the figure shows their order.",
}


def brain_caption(parts: ReportParts) -> str:
    """Describe the brain map; empty without a grid."""
    if parts.grid is None:
        return ""
    grid = parts.grid
    if grid.geometry == "volume":
        kernel = "×".join(str(k) for k in reversed(grid.kernel))
        text = f"{grid.n_tokens} tokens of {kernel} voxels over the brain mask."
    else:
        text = f"{grid.n_tokens} tokens of {grid.patch_words}, each at its centre."
        if isinstance(grid, TokenLayout):
            text += _PLACES[grid.positions]
    if parts.saliency is not None:
        text += (
            " Colour: gradient of the true text's likelihood with respect to each token, times the "
            "token, in absolute value and averaged over the test windows."
        )
    return text
