"""Parts of a report on what was written: pairs in trial order, identification, fluency."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..controls.conditions import DERANGED
from ..protocol import Evaluation
from ..scores import Score
from .print_style import BLUE, DOUBLE_MM, GREY, SINGLE_MM, VERMILION, new_figure, printed

MOST_PAIRS = 400  # keeps a report below its 5 MB
_CLIPPED = 400  # characters
_TEXTS = {"decoded": "decoded texts", "truth": "true texts"}
_TITLES = {"meaning": "sentence embeddings", "words": "words in common"}


def clip(text: str, most: int = _CLIPPED) -> str:
    """Cut a text to `most` characters."""
    return text if len(text) <= most else text[: most - 1] + "…"


def written_pairs(evaluation: Evaluation) -> list[dict[str, str]]:
    """True text, decoded text and text of a deranged brain, of the first windows in order."""
    permuted = evaluation.permuted
    return [
        {
            "trial": sample.trial_id,
            "truth": clip(sample.truth),
            "decoded": clip(sample.decoded),
            "permuted": clip(other),
        }
        for sample, other in zip(evaluation.samples[:MOST_PAIRS], permuted, strict=False)
    ]


def identification_rows(scores: Sequence[Score], facts: Mapping[str, Any]) -> list[dict[str, str]]:
    """One row for each way to compare texts and number of candidates, with the best copy."""
    rows = []
    for by, found in (facts.get("identification") or {}).items():
        for score in scores:
            own = score.metric.startswith(f"{by}_") and score.mode == "retrieval"
            if not own or score.control != DERANGED or score.group:
                continue
            ceiling = found["ceiling"].get(score.metric)
            interval = score.interval
            rows.append(
                {
                    "by": _TITLES.get(by, by),
                    "name": _named(score.metric.removeprefix(f"{by}_")),
                    "value": f"{score.value:.3f}",
                    "interval": "-"
                    if interval is None
                    else f"{interval.low:.3f} to {interval.high:.3f}",
                    "chance": "" if score.chance is None else f"{score.chance:.3f}",
                    "p": "" if score.p is None else f"{score.p:.4f}",
                    "ceiling": "" if ceiling is None else f"{ceiling:.3f}",
                }
            )
    return rows


def _named(name: str) -> str:
    """Words for ``two_way``, ``top1`` and ``top1_of_50``."""
    if name == "two_way":
        return "right of two"
    k, _, size = name.removeprefix("top").partition("_of_")
    first = "first" if k == "1" else f"among the first {k}"
    return f"{first} of {size or 'all'}"


def fluency_rows(facts: Mapping[str, Any]) -> list[dict[str, str]]:
    """One row for each set of texts."""

    def shown(value: float | None, digits: int) -> str:
        return "-" if value is None else f"{value:.{digits}f}"

    return [
        {
            "name": _TEXTS.get(name, name),
            "nll": shown(row["nll"], 2),
            "distinct1": shown(row["distinct1"], 3),
            "distinct2": shown(row["distinct2"], 3),
            "copied": shown(row["copied"], 3),
        }
        for name, row in (facts.get("fluency") or {}).items()
    ]


@printed
def identification_curves(facts: Mapping[str, Any]) -> Any | None:
    """Plot the share of texts among the first k against k; None without curves of two points."""
    curves = {
        by: found["curve"]
        for by, found in (facts.get("identification") or {}).items()
        if len(found["curve"]) > 1
    }
    if not curves:
        return None
    from matplotlib.ticker import FuncFormatter

    figure = new_figure(DOUBLE_MM if len(curves) > 1 else SINGLE_MM, 66)
    axes = figure.subplots(1, len(curves), squeeze=False, sharey=True)[0]
    for axis, (by, points) in zip(axes, curves.items(), strict=True):
        k = [point["k"] for point in points]
        if points[0]["low"] is not None:
            low, high = ([point[side] for point in points] for side in ("low", "high"))
            axis.fill_between(k, low, high, color=BLUE, alpha=0.2, lw=0)
        axis.plot(k, [p["value"] for p in points], "o-", color=BLUE, label="decoded text")
        axis.plot(k, [p["chance"] for p in points], "s--", color=VERMILION, label=DERANGED)
        axis.plot(k, [p["uniform"] for p in points], color=GREY, ls=":", label="random rank")
        axis.set_xscale("log")
        axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_xlabel(f"k, of {points[0]['n']} true texts")
        axis.set_title(f"by {_TITLES.get(by, by)}")
        axis.set_ylim(0, 1)
    axes[0].set_ylabel("true text among the first k")
    # below the axes, where it hides no curve
    figure.legend(
        *axes[0].get_legend_handles_labels(), frameon=False, loc="outside lower center", ncols=3
    )
    return figure
