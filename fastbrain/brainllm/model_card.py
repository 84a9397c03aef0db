"""Model card of a saved BrainLLM: inputs, training data, scores and limits."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from .._run_kind import RunKind
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

KIND: RunKind = "brainllm"
_LIMITS = """\
- Not a medical device. Only the distance of a score to that of its controls is evidence.
- Components are those of the voxels and the repetition time of the training store. Other recordings
  must be prepared like them.
- Weights and components are derived from the people it was trained on, and the split names their
  trials: share it as you would share the recordings.
"""


def card_text(
    described: Mapping[str, Any],
    *,
    manifest: Mapping[str, Any] | None = None,
    scores: Sequence[Mapping[str, Any]] = (),
    license: str | None = None,
) -> str:
    """Write a model card in Markdown.

    Parameters
    ----------
    described : mapping
        ``config.json`` of a saved model.
    manifest : mapping, optional
        Manifest of its run.
    scores : sequence of mapping
        ``scores`` from the ``metrics.json`` of a run; each is shown with its chance level.
    license : str, optional
        License of the weights, for the hub.

    Returns
    -------
    str
    """
    run, training = manifest or {}, described["card"].get("training", {})
    card, sizes = described["card"], described["model"]
    local = is_local(card["llm"])
    llm = f"{without_path(card['llm'])}, a local folder" if local else card["llm"]
    split = card["split"]
    counts = [f"{len(split[p])} {p}" for p in ("train", "val", "test") if p in split]
    tuned = "tuned, its adapter contained" if card.get("adapter") else "frozen"
    window = card["preprocessing"].get("window", {})
    delay = f" from {window['delay_s']:g} s after onset" if "delay_s" in window else ""
    held = ", ".join((run.get("split") or {}).get("keys", ()))
    reads = {
        "TR": f"{card['tr']:g} s",
        "window": f"{sizes['frames']} volumes{delay}",
        "features": f"{sizes['features']} principal components of a volume, contained",
        "units": str(card["preprocessing"].get("units", "not recorded")),
    }
    learned = {
        "language model": f"{llm}, {tuned}; referenced, not contained",
        **license_row(training),
        **cohort_rows(training),
        "store": card["store"] or "not recorded",
        "windows": ", ".join(counts),
        "held out": held or ("nothing but trials" if run.get("split") else "not recorded"),
        "components fitted on": "training windows only",
        "leaks found before training": leaks_found(run.get("audit") or training.get("audit")),
    }
    parts = [
        front_matter(None if local else card["llm"], license, KIND),
        "# BrainLLM\n",
        "Continues text from fMRI: components of volumes become embeddings of a frozen language "
        "model ([arXiv 2311.09889](https://arxiv.org/abs/2311.09889), made with fastbrain).\n",
        "## Use\n",
        "```python\nfrom fastbrain.brainllm import load_brainllm\n\n"
        "saved = load_brainllm(FOLDER, llm=LANGUAGE_MODEL, store=store)\n```\n",
        "## What it reads\n",
        card_table(reads),
        "## What it learned from\n",
        card_table(learned),
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
