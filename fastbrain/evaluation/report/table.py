"""Text tables of scores with their chance levels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..analyses.brain_use import brain_use_message
from ..analyses.store_ceiling import ceiling_lines
from ..controls.conditions import DERANGED
from ..metrics.registry import TEXT_METRICS
from ..scores import Score

TITLES = {metric.name: metric.title for metric in TEXT_METRICS} | {
    "cider_d": "CIDEr-D (0 to 10)",
    "pairwise": "pairwise accuracy",
    "surprise_effect": "correlation of gain and surprise",
    "meaning_two_way": "right of two, by meaning",
    "meaning_top1": "first of all, by meaning",
    "meaning_top5": "among the first five, by meaning",
    "words_two_way": "right of two, by words in common",
    "words_top1": "first of all, by words in common",
    "words_top5": "among the first five, by words in common",
    "linear_pairwise": "pairwise accuracy of a ridge regression",
    "linear_two_way": "right of two, by ridge regression",
    "linear_top1": "first of all, by ridge regression",
    "linear_top5": "among the first five, by ridge regression",
}
LOWER = {metric.name for metric in TEXT_METRICS if metric.better == "lower"}
_SHORT = (
    *(
        "pairwise",
        "linear_pairwise",
        "bleu1",
        "bleu2",
        "rougeL_f",
        "bertscore_f",
        "wer",
        "exact_match",
    ),
    *("cider_d", "meteor", "meaning_two_way", "meaning_top1", "words_two_way", "linear_top1"),
    "surprise_effect",
)
_MODES = ("teacher-forced", "free-running", "retrieval")


def score_rows(scores: Sequence[Score]) -> list[dict[str, Any]]:
    """Format each score as a row of strings; ``small`` is True if p is at most 0.05."""
    return [
        {
            "metric": score.metric,
            "name": TITLES.get(score.metric, score.metric),
            "group": score.group,
            "mode": score.mode,
            "control": score.control,
            "value": f"{score.value:.3f}",
            "interval": "-"
            if score.interval is None
            else f"{score.interval.low:.3f} to {score.interval.high:.3f}",
            "chance": "" if score.chance is None else f"{score.chance:.3f}",
            "p": "" if score.p is None else f"{score.p:.4f}",
            "adjusted": "" if score.adjusted is None else f"{score.adjusted:.4f}",
            "effect": "" if score.effect is None else f"{score.effect:.2f}",
            "n": str(score.n),
            "small": score.p is not None and score.p <= _SIGNIFICANT,
            "signature": score.signature,
        }
        for score in scores
    ]


def main_scores(scores: Sequence[Score]) -> list[Score]:
    """Select the headline metrics against deranged brains, in display order."""
    chosen = [s for s in scores if s.control == DERANGED and not s.group and s.mode in _MODES]
    return [s for name in _SHORT for s in chosen if s.metric == name]


# controls that write a text without the brain that is decoded
_NO_BRAIN = (
    *("phase-randomised brain", "noise brain", "zero brain", "prompt alone", "untuned model"),
    *("majority text", "template text"),
)
_VISIBLE = 5e-4  # smaller differences vanish in three digits
_SIGNIFICANT = 0.05


def linear_first(facts: Mapping[str, Any]) -> str:
    """Sentences for the top of a report if the regression is ahead of the model; else empty.

    A difference with p above 0.05 is named, but not as a finding, unless so few blocks allow no
    smaller p.

    Parameters
    ----------
    facts : mapping
        Of an evaluation, with the key ``linear_baseline`` if there is one.
    """
    names = {
        "meaning_top1": "top-1",
        "meaning_top5": "top-5",
        "meaning_two_way": "right of two",
        "pairwise": "pairwise",
    }
    rows = (facts.get("linear_baseline") or {}).get("comparison", ())
    found: list[str] = []
    ahead: list[str] = []
    count = 0
    unclear: list[str] = []
    for row in rows:
        if row["difference"] >= _VISIBLE:
            # evaluations of earlier versions do not say how many blocks there were
            least = row["p"] <= 2 ** (1 - row.get("blocks", 64))
            kind = found if row["p"] <= _SIGNIFICANT else ahead if least else unclear
            count = row.get("blocks", count)
            kind.append(
                f"{names[row['metric']]} {row['linear']:.3f} against {row['model']:.3f} "
                f"(p = {row['p']:.4f})"
            )
    said = []
    if found:
        said.append(
            "A ridge regression on the same windows identifies the true texts more often than the "
            f"language model: {'; '.join(found)}."
        )
    if ahead:
        blocks = "1 block allows" if count == 1 else f"{count} blocks allow"
        said.append(
            "A ridge regression on the same windows scores higher than the language model in every "
            f"block, but {blocks} no smaller p: {'; '.join(ahead)}."
        )
    if unclear:
        said.append(
            "The difference between a ridge regression on the same windows and the language model "
            f"is not significant: {'; '.join(unclear)}."
        )
    return " ".join(said)


def no_brain_first(scores: Sequence[Score]) -> str:
    """Sentence for the top of a report if a text without a brain scores higher; else empty.

    Each control is named once, with the first metric of which the decoder's 95 % interval ends
    before the score of the control.

    Parameters
    ----------
    scores : sequence of Score
    """
    texts = {metric.name for metric in TEXT_METRICS} & set(_SHORT)
    found: dict[str, str] = {}
    for score in scores:
        if score.metric not in texts or score.control not in _NO_BRAIN or score.group:
            continue
        if score.interval is None or score.chance is None:
            continue
        lower = score.metric in LOWER
        end = score.interval.low if lower else score.interval.high
        if (end - score.chance if lower else score.chance - end) >= _VISIBLE:
            said = (
                f"{score.control}, {TITLES[score.metric]} {score.chance:.3f} against "
                f"{score.value:.3f} (95 % interval {score.interval.low:.3f} to "
                f"{score.interval.high:.3f})"
            )
            found.setdefault(score.control, said)
    if not found:
        return ""
    named = "; ".join(found.values())
    return f"Without this brain the text scores better than the decoder's: {named}."


def derangements_drawn(count: int, distinct: int) -> str:
    """State how many derangements were drawn, and how many differ where some are equal."""
    return f"{count} derangements" + (f" ({distinct} distinct)" if distinct < count else "")


def aligned(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> str:
    """Format rows as aligned text under a heading; `columns` maps keys to titles."""
    table = [dict(columns), *({key: str(row[key]) for key in columns} for row in rows)]
    widths = {key: max(len(row[key]) for row in table) for key in columns}
    lines = ["  ".join(f"{row[key]:<{widths[key]}}" for key in columns).rstrip() for row in table]
    lines.insert(1, "-" * max(map(len, lines)))
    return "\n".join(lines)


def metrics_table(
    scores: Sequence[Score],
    *,
    derangements: int,
    distinct: int | None = None,
    facts: Mapping[str, Any] | None = None,
) -> str:
    """Format the headline metrics as aligned text, below warnings and what scores higher.

    Parameters
    ----------
    scores : sequence of Score
    derangements : int
        Number that was drawn.
    distinct : int, optional
        Number of different ones, on which p rests; default: all.
    facts : mapping, optional
        Of the evaluation.
    """
    chosen = main_scores(scores)
    rows = score_rows(chosen)
    for row in rows:
        row["name"] += " (teacher-forced)" if row["mode"] == "teacher-forced" else ""
    columns = {"name": "metric", "value": "decoded", "interval": "95 % interval"}
    columns |= {"chance": "deranged brain", "p": "p", "adjusted": "p adjusted"}
    n = chosen[0].n if chosen else 0
    drawn = derangements_drawn(derangements, derangements if distinct is None else distinct)
    table = f"{aligned(rows, columns)}\nn = {n} windows, {drawn}"
    table = "\n".join([table, *ceiling_lines(facts or {})])
    said = brain_use_message(facts or {}), no_brain_first(scores), linear_first(facts or {})
    first = "\n".join(filter(None, said))
    return f"{first}\n\n{table}" if first else table


def group_table(scores: Sequence[Score], facts: Mapping[str, Any]) -> str:
    """Format the scores of sessions and groups of people as Markdown; empty without groups.

    Parameters
    ----------
    scores : sequence of Score
        Of an evaluation with groups (:func:`fastbrain.evaluation.grouped.with_groups`).
    facts : mapping
        Its facts, with the tests of equal scores in ``"groups"``.
    """
    parts = []
    columns = {"group": "group", "n": "n", "name": "metric", "value": "decoded"}
    columns |= {"interval": "95 % interval", "chance": DERANGED, "p": "p", "adjusted": "p adjusted"}
    for test in facts.get("groups", ()):
        rows = score_rows([s for s in scores if s.group.startswith(f"{test['name']} ")])
        lines = [f"| {' | '.join(columns.values())} |", "|---" * len(columns) + "|"]
        lines += [f"| {' | '.join(row[key] for key in columns)} |" for row in rows]
        units = "runs" if test["name"] == "session" else "people"
        p = "they cannot be exchanged" if test["p"] is None else f"p {test['p']:.4f}"
        said = (
            f"Equal {TITLES[test['metric']]} in all groups: {p}, by exchanging the labels of "
            f"{test['units']} {units}."
        )
        parts += [f"## By {test['name']}", "\n".join(lines), said]
    return "\n\n".join(parts)
