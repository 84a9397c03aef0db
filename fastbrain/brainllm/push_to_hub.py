"""Upload a run of BrainLLM to the hub: verified files and a model card only."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .._arguments import checked
from .._run_kind import require_kind
from .._runfiles import read_manifest
from ..lm.lora import adapter_files
from ..nn.card_parts import card_table, front_matter, leaks_found, scores_table
from ..nn.hub import check_upload, scores_for_card, upload
from ..training.uploaded_run import run_files
from .saving import FILES, KIND, read_described

_LIMITS = """\
- For research on recordings of people who agreed to this use. Not a medical device; not for any
  decision about a person.
- A continuation is the guess of a language model that was given a few numbers from a brain: only
  the distance to the controls is evidence.
- Components are those of the voxels and the repetition time of the training store. Other recordings
  must be prepared like them.
- Weights and components are derived from the people it was trained on, and the split names their
  trials: share it as you would share the recordings.
"""


@checked
def push_brainllm(
    run: str | Path,
    name: str,
    *,
    metrics: str | Path | None = None,
    license: str | None = None,
    private: bool = True,
    token: str | None = None,
) -> str:
    """Upload the model of a BrainLLM run: decoder, components, configuration and model card.

    Every file is first compared with its digest. The preparation of its windows goes along, so that
    it decodes new scans. The frozen language model is named, not contained.

    Parameters
    ----------
    run : str or Path
    name, metrics, license, private, token
        As in :func:`fastbrain.push_to_hub`.

    Returns
    -------
    str
        URL of the commit.

    Raises
    ------
    CheckpointError
        The run is of another system, not finished, or damaged.
    MissingPartError
        huggingface_hub is not installed.
    InputError
        `metrics` is not a ``metrics.json`` of fastbrain, `name` has no owner, or the hub cannot be
        reached or rejects the model.
    """
    check_upload(name)
    require_kind(run, KIND, function="push_to_hub", instead="Use the function of that system.")
    manifest = read_manifest(run, function="push_to_hub")
    root = Path(run) / "model"
    described = read_described(root)
    text = _card(described, manifest, scores_for_card(metrics), license)
    adapter = adapter_files(root, described["card"].get("adapter", {}), function="push_to_hub")
    files: dict[str, Path | str] = {
        file: root / file for file in (*FILES, *adapter, "manifest.json")
    }
    files |= run_files(run, function="push_to_hub")
    return upload(name, files, text, private=private, token=token)


def _card(
    described: Mapping[str, Any],
    manifest: Mapping[str, Any],
    scores: Sequence[Mapping[str, Any]],
    license: str | None,
) -> str:
    card, sizes = described["card"], described["model"]
    local = Path(card["llm"]).is_absolute() or Path(card["llm"]).is_dir()
    llm = f"{Path(card['llm']).name}, a local folder" if local else card["llm"]
    split = card["split"]
    counts = [f"{len(split[p])} {p}" for p in ("train", "val", "test") if p in split]
    window = card["preprocessing"].get("window", {})
    delay = f" from {window['delay_s']:g} s after onset" if "delay_s" in window else ""
    held = ", ".join((manifest.get("split") or {}).get("keys", ()))
    reads = {
        "TR": f"{card['tr']:g} s",
        "window": f"{sizes['frames']} volumes{delay}",
        "features": f"{sizes['features']} principal components of a volume, contained",
        "units": str(card["preprocessing"].get("units", "not recorded")),
    }
    learned = {
        "language model": f"{llm}, frozen; referenced, not contained",
        "store": card["store"] or "not recorded",
        "windows": ", ".join(counts),
        "held out": held or "nothing but trials",
        "components fitted on": "training windows only",
        "leaks found before training": leaks_found(manifest.get("audit")),
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
        "## Limits\n",
        _LIMITS,
        "## Whole configuration\n",
        f"```json\n{json.dumps(sizes, indent=2)}\n```\n",
    ]
    return "\n".join(parts)
