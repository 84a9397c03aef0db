"""Parts of model cards that all systems share."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_TAGS = ("fmri", "brain-decoding", "neuroscience")
INTENDED_USE = """\
Research on how brains represent what people see, hear and read, with recordings of people who
agreed to this use. Do not use it on anyone without consent, and not for decisions about a person:
not for diagnosis, not in court, not at work, not to find out what a person does not want to say.

It is not a mind reader. It was trained on recordings of people who attended to known stimuli, and a
text is the guess of a model that was given a few numbers from a brain: it reads well where the
brain contributed nothing.
"""


def is_local(name: str) -> bool:
    """Whether the name of a language model is a folder of this machine, not a name on the hub."""
    return Path(name).is_absolute() or Path(name).is_dir()


def without_path(name: str) -> str:
    """Return the name of a language model without the path of this machine."""
    return Path(name).name if is_local(name) else name


def front_matter(llm: str | None, license: str | None, system: str) -> str:
    """Write the YAML block that the hub reads; `llm` is the language model's name on the hub."""
    lines = ["library_name: fastbrain", f"tags: {json.dumps([*_TAGS, system])}"]
    if license is not None:
        lines.append(f"license: {json.dumps(license)}")
    if llm is not None:
        lines.append(f"base_model: {json.dumps(llm)}")
    return "\n".join(["---", *lines, "---", ""])


def cohort_rows(training: Mapping[str, Any]) -> dict[str, str]:
    """Rows on the people, recordings and fits of training, from what the model records of them."""
    cohort = training.get("cohort")
    if cohort is None:
        return {}
    people = ", ".join(f"{n} {part}" for part, n in cohort["people"].items())
    return {
        "people": f"{cohort['people_in_all']}: {people}; one may be in several parts",
        "recordings": f"{cohort['runs']} runs, {cohort['volumes']:,} volumes",
        "voxel statistics fitted on": f"training windows of {cohort['fit_runs']} runs",
    }


def license_row(training: Mapping[str, Any]) -> dict[str, str]:
    """Row on the license of the language model, which holds for texts and weights made with it."""
    stated = training.get("llm_license")
    return {
        "license of the language model": stated
        or "not stated in its files: look it up where it was published"
    }


def leaks_found(audit: Mapping[str, Any] | None) -> str:
    """Describe the audit of a run in a few words."""
    if audit is None:
        return "not recorded"
    allowed = f"; allowed because: {audit['allowed']}" if audit.get("allowed") else ""
    return "none" if audit.get("clean") else f"{len(audit.get('findings', ()))}{allowed}"


def scores_table(scores: Sequence[Mapping[str, Any]]) -> str:
    """Format the scores of an evaluation, each beside its chance level."""
    if not scores:
        return "Not evaluated. `fastbrain evaluate` scores it and its controls.\n"
    lines = [
        "Each value is reported with the same score of its control, which is its chance level.\n",
        "| metric | mode | value | 95 % interval | chance | control | p | n |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in scores:
        interval, group = row.get("interval"), row.get("group")
        ends = f"{interval['low']:.3f} to {interval['high']:.3f}" if interval else ""
        metric = f"{row['metric']}, {group}" if group else row["metric"]
        cells = [metric, row["mode"], _number(row["value"]), ends, _number(row["chance"])]
        cells += [row["control"] or "none", _number(row.get("p"), 4), row["n"]]
        lines.append(f"| {' | '.join(_cell(c) for c in cells)} |")
    return "\n".join(lines) + "\n"


def _number(value: float | None, places: int = 3) -> str:
    return "" if value is None else f"{value:.{places}f}"


def card_table(rows: Mapping[str, str]) -> str:
    """Format names and values as a Markdown table."""
    lines = [f"| {_cell(name)} | {_cell(value)} |" for name, value in rows.items()]
    return "\n".join(["| | |", "|---|---|", *lines, ""])


def _cell(value: object) -> str:
    return " ".join(str(value).split()).replace("|", "\\|")
