"""Tables of codes with and without an adversary, and of age predicted from them."""

from __future__ import annotations

from statistics import mean, stdev
from typing import Any

Row = dict[str, Any]

_CODES = {
    "r2_mean": ("R² mean", "{:.2f}"),
    "r2_ar1": ("R² AR(1)", "{:.2f}"),
    "usage": ("codes in use", "{:.0%}"),
    "adversary": ("accuracy of the adversary", "{:.2f}"),
    "probe": ("of the probe", "{:.2f}"),
}
_BASE = "mean"
_SURE = 0.05
_WAYS = (
    *(_BASE, "connectivity ridge", "connectivity of codes", "digits", "digits, calibrated"),
    *("digits, likeliest", "head", "image"),
)


def codes_table(rows: list[Row]) -> str:
    """What the codes explain and whether they pass for text, by seed and over seeds."""
    parts = []
    # the codes do not depend on where their embeddings start
    for own in _studies([row for row in rows if _start(row) == "rotated"]):
        lines = [
            "| seed | adversary | " + " | ".join(title for title, _ in _CODES.values()) + " |",
            "|---" * (2 + len(_CODES)) + "|",
        ]
        for row in own:
            cells = [_number(row[name], form) for name, (_, form) in _CODES.items()]
            lines.append(f"| {row['seed']} | {_yes(row)} | " + " | ".join(cells) + " |")
        for some in _by_case(own).values():
            cells = [
                _spread([row[name] for row in some], form) for name, (_, form) in _CODES.items()
            ]
            lines.append(f"| all | {_yes(some[0])} | " + " | ".join(cells) + " |")
        parts += [_about(own), "\n".join(lines)]
    return "\n\n".join(parts)


def age_table(rows: list[Row]) -> str:
    """Mean absolute error of every prediction of age, over seeds."""
    parts = []
    for own in _studies(rows):
        cases = _by_case(own)
        lines = ["| prediction | " + " | ".join(cases) + " |", "|---" * (1 + len(cases)) + "|"]
        for way in _WAYS:
            cells = [_error(some, way) for some in cases.values()]
            title = "mean age" if way == _BASE else way
            lines.append(f"| {title} | " + " | ".join(cells) + " |")
        parts += [
            f"{_people(own)}: years, mean ± standard deviation over seeds; in brackets the "
            "difference from the mean age of the training people, seed by seed; after the slash "
            "the same predictions dealt to other people. Bold: p ≤ 0.05 against those in every "
            "seed.",
            "\n".join(lines),
        ]
    return "\n\n".join(parts)


def _studies(rows: list[Row]) -> list[list[Row]]:
    """The newest row of every seed and condition, in order, by the size of the cohort."""
    newest = {
        (row["people"], row["seed"], row["domain"], _start(row) != "rotated", _start(row)): row
        for row in rows
    }
    ordered = [newest[key] for key in sorted(newest)]
    sizes = dict.fromkeys(row["people"] for row in ordered)
    return [[row for row in ordered if row["people"] == size] for size in sizes]


def _by_case(rows: list[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row["case"], []).append(row)
    return found


def _people(rows: list[Row]) -> str:
    parts = rows[0]["parts"]
    return (
        f"{len({row['seed'] for row in rows})} seeds, {parts['train']} people to train on, "
        f"{parts['val']} to choose epochs, {parts['test']} to score"
    )


def _about(rows: list[Row]) -> str:
    seconds, env = sorted(row["seconds"] for row in rows), rows[-1]["env"]
    took = f"{seconds[0]:.0f} to {seconds[-1]:.0f} s a run"
    return (
        f"{_people(rows)}; {took} on {env['threads']} thread(s) of {env['cpu']}, commit "
        f"{env['commit']}, {env['date'][:10]}."
    )


def _error(rows: list[Row], way: str) -> str:
    found = [row["mae"][way] for row in rows]
    cell = _spread([one["value"] for one in found], "{:.1f}")
    if way == _BASE:
        return cell
    gains = [
        one["value"] - row["mae"][_BASE]["value"] for one, row in zip(found, rows, strict=True)
    ]
    # what is rounded to nothing has no sign
    gain = round(mean(gains), 1) or 0.0
    chance = mean(one["chance"] for one in found)
    text = f"{cell} ({gain:+.1f}) / {chance:.1f}"
    return f"**{text}**" if all(one["p"] <= _SURE for one in found) else text


def _spread(values: list[float | None], form: str) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return ""
    return form.format(mean(known)) + (f" ± {form.format(stdev(known))}" if len(known) > 1 else "")


def _number(value: float | None, form: str) -> str:
    return "" if value is None else form.format(value)


def _start(row: Row) -> str:
    return row.get("start", "rotated")


def _yes(row: Row) -> str:
    return "yes" if row["domain"] else "no"
