"""The result of a preference test as a page of Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .results import PreferenceResult


def result_page(result: PreferenceResult) -> str:
    """Format a result; the command prints it and writes it to ``results.md``."""
    counts, share, agreement = result.counts, result.share, result.agreement
    alone, by_run, halves = (
        share[name] for name in ("if_independent", "by_run", "with_no_preference_as_half")
    )
    rows = [
        ["prefer the true brain, over pairs and raters", share["value"], share["interval"],
         share["p"]],
        [f"the same, over {by_run['runs']} runs and raters", share["value"], by_run["interval"],
         None],
        ["the same, if all answers were independent", share["value"], alone["interval"],
         alone["p"]],
        ["no preference counted as half", halves["value"], halves["interval"], None],
    ]  # fmt: skip
    answers = counts["answers"]
    kinds = {"true": "the true brain", "other": "the other brain", "no_preference": "neither"}
    said = ", ".join(
        f"{counts[kind]} {name} ({counts[kind] / answers:.1%})" for kind, name in kinds.items()
    )
    parts = [
        f"# Preference test of {result.facts['run']}",
        f"{counts['raters']} raters, {counts['pairs']} pairs, {answers} answers: {said}. "
        f"{counts['unanswered']} not answered. Chance is 0.5. The first text was chosen in "
        f"{result.facts['first_text_share']:.1%} of the preferences.",
        _table(["share", "value", "95 % interval", "p"], [_formatted(row) for row in rows]),
        "p is two-sided: by sign flips of pairs in the first row, binomial in the third. Answers "
        "to one pair, or of one person, are not independent, so interval and p of the third row "
        "are too small if there are several raters.",
        "## Raters",
        _table(
            ["form", "true brain", "other", "neither", "not answered", "share", "95 % interval",
             "p", "p adjusted"],
            [
                [row["form"], *(str(row[k]) for k in (*kinds, "unanswered")),
                 *_formatted(["", row["share"], row["interval"], row["p"], row["adjusted"]])[1:]]
                for row in result.raters
            ],
        ),
        "## Agreement",
        f"{agreement['pairs']} pairs have two answers or more; of two answers to a pair, "
        f"{_share_of(agreement['equal'])} are equal. Krippendorff's alpha (nominal: true brain, "
        f"other, neither) {_number(agreement['alpha'])}; Fleiss' kappa "
        f"{_number(agreement['kappa'])}. 0 is chance. A dash: undefined, because all answers are "
        "equal, no pair has two or, for kappa, pairs differ in their number of answers.",
    ]  # fmt: skip
    if result.notes:
        parts += ["## Notes", "\n".join(f"- {note}" for note in result.notes)]
    return "\n\n".join(parts) + "\n"


def _formatted(row: Sequence[Any]) -> list[str]:
    name, value, interval, *p = row
    shown = "-" if interval is None else f"{interval[0]:.3f} to {interval[1]:.3f}"
    return [name, _number(value), shown, *("-" if x is None else f"{x:.4f}" for x in p)]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _share_of(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
