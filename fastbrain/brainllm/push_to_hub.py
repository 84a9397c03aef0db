"""Upload a run of BrainLLM to the hub: verified files and a model card only."""

from __future__ import annotations

from pathlib import Path

from .._arguments import checked
from .._run_kind import require_kind
from .._runfiles import read_manifest
from ..lm.lora import adapter_files
from ..nn.hub import check_upload, scores_for_card, shared_files, upload
from ..training.uploaded_run import run_files
from .model_card import card_text
from .saving import FILES, KIND, read_described


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
    text = card_text(described, manifest=manifest, scores=scores_for_card(metrics), license=license)
    adapter = adapter_files(root, described["card"].get("adapter", {}), function="push_to_hub")
    files = shared_files(root, (*FILES, *adapter))
    files |= run_files(run, function="push_to_hub")
    return upload(name, files, text, private=private, token=token)
