"""Model card of a saved model: inputs, training data, scores and limits."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ..nn.card_parts import (
    INTENDED_USE,
    card_table,
    cohort_rows,
    front_matter,
    is_local,
    leaks_found,
    license_row,
    scores_table,
    without_path,
)

_LIMITS = """\
- Not a medical device. Only the distance of a score to that of its controls is evidence.
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
    local = is_local(card["llm"])
    llm = f"{without_path(card['llm'])}, a local folder" if local else card["llm"]
    parts = [
        front_matter(None if local else card["llm"], license, "llm4brain"),
        "# LLM4Brain\n",
        "Reads text from fMRI: voxels to a prefix that a frozen language model continues "
        "([arXiv 2409.17987](https://arxiv.org/abs/2409.17987), made with fastbrain).\n",
        "## Use\n",
        "```python\nimport fastbrain as fb\n\n"
        "model = fb.from_pretrained(FOLDER_OR_NAME, grid=store.grid, tr=store.tr)\n```\n",
        "## What it reads\n",
        card_table(_input(described)),
        "## What it learned from\n",
        card_table(_data(card, llm)),
        "## Scores\n",
        scores_table(scores),
        "## Intended use\n",
        INTENDED_USE,
        "## Limits\n",
        _LIMITS,
        "## Whole configuration\n",
        f"```json\n{json.dumps(sizes, indent=2)}\n```\n",
    ]
    return "\n".join(parts)


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
    if grids := described.get("grids"):
        names = ", ".join(f"{g['name']} ({g['fingerprint']})" for g in grids)
        rows["grid"] = f"{len(grids)}: {names}; one is opened by part= or by its grid"
    if "delay_s" in window:
        rows["window"] += f" from {window['delay_s']:g} s after onset"
    return rows


def _data(card: Mapping[str, Any], llm: str) -> dict[str, str]:
    split, training = card["split"], card["training"]
    counts = [f"{len(split[p])} {p}" for p in ("train", "val", "test") if p in split]
    tuned = "tuned, its adapter contained" if card.get("adapter") else "frozen"
    held = ", ".join(split.get("keys", ())) or "nothing but trials"
    rows = {
        "language model": f"{llm}, {tuned}; referenced, not contained",
        **license_row(training),
        **cohort_rows(training),
        "store": card["fingerprint"] or "not recorded",
        "windows": ", ".join(counts) or "not recorded",
        "held out": held if split else "not recorded",
        "adaptation": str(training.get("adaptation", "not recorded")),
        "stages": ", ".join(training.get("stages", ())) or "not recorded",
        "leaks found before training": leaks_found(training.get("audit")),
    }
    for name, facts in training.get("weights", {}).items():
        digest = facts.get("sha256") or facts.get("digest")
        rows[name.replace("_", " ")] = f"{facts.get('file') or facts.get('name')}, {digest}"
    return rows
