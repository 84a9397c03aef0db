"""Model card of a saved model: inputs, training data, scores and limits."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_TAGS = ("fmri", "brain-decoding", "neuroscience", "llm4brain")
_LIMITS = """\
- For research on recordings of people who agreed to this use. Not a medical device; not for any
  decision about a person.
- A decoded sentence is the guess of a language model that was given a few numbers from a brain. It
  reads well where the brain contributed nothing: only the distance to the controls is evidence.
- It knows the stimuli, the scanner sequence and the preprocessing of its training set. Recordings
  on another grid or with another TR are refused.
- Weights and voxel statistics are derived from the people it was trained on, and the split names
  their trials: share it as you would share the recordings.
"""


def card_text(
    described: Mapping[str, Any],
    *,
    scores: Sequence[Mapping[str, Any]] = (),
    license: str | None = None,
) -> str:
    """Write a model card in Markdown.

    Parameters
    ----------
    described : mapping
        ``config.json`` of a saved model.
    scores : sequence of mapping
        ``scores`` from the ``metrics.json`` of a run; each is shown with its chance level.
    license : str, optional
        License of the weights, for the hub.

    Returns
    -------
    str
    """
    card, sizes = described["card"], described["model"]
    local = Path(card["llm"]).is_absolute() or Path(card["llm"]).is_dir()
    llm = f"{Path(card['llm']).name}, a local folder" if local else card["llm"]
    parts = [
        _front_matter(None if local else card["llm"], license),
        "# LLM4Brain\n",
        "Reads text from fMRI: voxels to a prefix that a frozen language model continues "
        "([arXiv 2409.17987](https://arxiv.org/abs/2409.17987), made with fastbrain).\n",
        "## Use\n",
        "```python\nimport fastbrain as fb\n\n"
        "model = fb.from_pretrained(FOLDER_OR_NAME, grid=store.grid, tr=store.tr)\n```\n",
        "## What it reads\n",
        _table(_input(described)),
        "## What it learned from\n",
        _table(_data(card, llm)),
        "## Scores\n",
        _scores(scores),
        "## Limits\n",
        _LIMITS,
        "## Whole configuration\n",
        f"```json\n{json.dumps(sizes, indent=2)}\n```\n",
    ]
    return "\n".join(parts)


def _front_matter(llm: str | None, license: str | None) -> str:
    lines = ["library_name: fastbrain", f"tags: {json.dumps(list(_TAGS))}"]
    if license is not None:
        lines.append(f"license: {json.dumps(license)}")
    if llm is not None:
        lines.append(f"base_model: {json.dumps(llm)}")
    return "\n".join(["---", *lines, "---", ""])


def _input(described: Mapping[str, Any]) -> dict[str, str]:
    card, sizes = described["card"], described["model"]
    window = card["preprocessing"].get("window", {})
    rows = {
        "TR": f"{card['tr']:g} s",
        "window": f"{sizes['frames']} volumes",
        "grid": f"{described['grid_fingerprint']}, patches of "
        f"{'×'.join(map(str, described['kernel']))} voxels (z, y, x)",
        "units": str(card["preprocessing"].get("units", "not recorded")),
        "statistics": "mean and inverse standard deviation of each voxel over the training "
        "windows, in the weights",
        "prompt": f"`{card['prompt']}`" if card["prompt"] else "none",
    }
    if "delay_s" in window:
        rows["window"] += f" from {window['delay_s']:g} s after onset"
    return rows


def _data(card: Mapping[str, Any], llm: str) -> dict[str, str]:
    split, training = card["split"], card["training"]
    counts = [f"{len(split[p])} {p}" for p in ("train", "val", "test") if p in split]
    held = ", ".join(split.get("keys", ())) or "nothing but trials"
    rows = {
        "language model": f"{llm}, frozen; referenced, not contained",
        "store": card["fingerprint"] or "not recorded",
        "windows": ", ".join(counts) or "not recorded",
        "held out": held if split else "not recorded",
        "adaptation": str(training.get("adaptation", "not recorded")),
        "stages": ", ".join(training.get("stages", ())) or "not recorded",
        "leaks found before training": _leaks(training.get("audit")),
    }
    for name, facts in training.get("weights", {}).items():
        digest = facts.get("sha256") or facts.get("digest")
        rows[name.replace("_", " ")] = f"{facts.get('file') or facts.get('name')}, {digest}"
    return rows


def _leaks(audit: Mapping[str, Any] | None) -> str:
    if audit is None:
        return "not recorded"
    allowed = f"; allowed because: {audit['allowed']}" if audit.get("allowed") else ""
    return "none" if audit.get("clean") else f"{len(audit.get('findings', ()))}{allowed}"


def _scores(scores: Sequence[Mapping[str, Any]]) -> str:
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


def _table(rows: Mapping[str, str]) -> str:
    lines = [f"| {_cell(name)} | {_cell(value)} |" for name, value in rows.items()]
    return "\n".join(["| | |", "|---|---|", *lines, ""])


def _cell(value: object) -> str:
    return " ".join(str(value).split()).replace("|", "\\|")
