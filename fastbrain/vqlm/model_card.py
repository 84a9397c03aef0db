"""Model card of a run of the fMRI language model: inputs, training data, scores and limits."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .._rules import list_of, none_or, number, record_of, text
from .._runfiles import read_record
from ..lm.kept_llm import kept_llm
from ..lm.license import license_of
from ..nn.card_parts import (
    INTENDED_USE,
    card_table,
    front_matter,
    is_local,
    license_row,
    scores_table,
)
from .asking import saved_words
from .run_records import KIND, PARTS, read_people

CONFIG = {"config": record_of({"question": text, "kind": text, "llm": none_or(text)})}
_CODER = {"regions": list_of(text), "tr": number, "fitted_on": list_of(text)}
_LIMITS = """\
- Not a medical device.
- A predicted value is worth what its row in the scores says beside the mean and connectivity ridge.
- Series must be of the same regions, in their order, with the repetition time of training.
- Codebook, weights and language model are derived from the people it was trained on, and the split
  names them: share it as you would share the recordings. The language model contains the weights of
  the one it started from, and that license holds.
"""


def shared_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration without paths of this machine: names on the hub stay."""
    local = {
        key: Path(value).name
        for key, value in config.items()
        if isinstance(value, str) and Path(value).is_absolute()
    }
    return {**config, **local, "llm": shared_name(config)}


def shared_name(config: Mapping[str, Any]) -> str | None:
    """Return the name on the hub of the language model that a run started from, if it has one."""
    llm = config["llm"]
    return None if llm is None or is_local(llm) else str(llm)


def card_text(
    run: Path, *, scores: Sequence[Mapping[str, Any]] = (), license: str | None = None
) -> str:
    """Write a model card in Markdown.

    Parameters
    ----------
    run : Path
        Finished run folder.
    scores : sequence of mapping
        ``scores`` from its ``metrics.json``; each is shown with its chance level.
    license : str, optional
        License of the weights, for the hub.

    Raises
    ------
    CheckpointError
        A file of the run is missing or damaged.
    """
    config = read_record(run / "config.json", CONFIG, function="model_card")["config"]
    target, split = read_people(run, function="model_card")
    words = saved_words(run, config)
    if words is not None and words.source == "connectomes":
        reads = {"connectomes": f"{len(words.regions)} regions"}
        fitted = words.fitted_on
    else:
        coder = read_record(run / "coder" / "config.json", _CODER, function="model_card")
        reads = {"regions": str(len(coder["regions"])), "TR": f"{coder['tr']:g} s"}
        fitted = coder["fitted_on"]
    base, name = kept_llm(run, folder="base"), shared_name(config)
    shown = name or "a small one, trained with the run"
    if name is None and config["llm"] is not None:
        shown = f"{Path(config['llm']).name}, a local folder"
    rows = {
        "predicts": f"{target}: “{config['question']}”",
        **reads,
        "language model": f"{shown}, tuned; contained, with the codes in its vocabulary",
        **license_row({"llm_license": license_of(base) if base is not None else ""}),
        "people": ", ".join(f"{len(split[part])} {part}" for part in PARTS),
        "scale and codes fitted on": f"{len(fitted)} people of the training part",
    }
    config = shared_config(config)
    parts = [
        front_matter(name, license, KIND),
        "# fMRI language model\n",
        "Predicts a value of a person from codes of resting-state fMRI (made with fastbrain).\n",
        "## Use\n",
        "Download the files to a folder RUN; `fastbrain decode` with this folder and `--study` "
        "predicts the value of new people.\n",
        "## What it reads and learned from\n",
        card_table(rows),
        "## Scores\n",
        scores_table(scores),
        "## Intended use\n",
        INTENDED_USE,
        "## Limits\n",
        _LIMITS,
        "## Whole configuration\n",
        f"```json\n{json.dumps(config, indent=2)}\n```\n",
    ]
    return "\n".join(parts)


def coder_card_text(described: Mapping[str, Any]) -> str:
    """Write the card of an autoencoder alone, from its ``config.json``."""
    quantiser = described["model"].get("quantiser", {})
    rows = {
        "regions": str(len(described["regions"])),
        "TR": f"{described['tr']:g} s",
        "codes": str(quantiser.get("codes", "not recorded")),
        "scale, codebook and weights fitted on": f"{len(described['fitted_on'])} runs",
    }
    parts = [
        front_matter(None, None, KIND),
        "# Codes of fMRI\n",
        "An autoencoder that turns series of regions into codes and back (made with fastbrain).\n",
        "## Use\n",
        "```python\nfrom fastbrain.vqlm import load_vq\n\n"
        "model, card = load_vq(FOLDER, regions=REGIONS)\n```\n",
        "## What it reads and learned from\n",
        card_table(rows),
        "## Intended use\n",
        INTENDED_USE,
        "## Limits\n",
        "- Series must be of the same regions, in their order, with the repetition time of "
        "training.\n- Codebook and weights are derived from the people it was trained on: share "
        "it as you would share the recordings.\n",
        "## Whole configuration\n",
        f"```json\n{json.dumps(described['model'], indent=2)}\n```\n",
    ]
    return "\n".join(parts)
