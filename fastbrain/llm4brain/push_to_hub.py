"""Upload a saved model to the hub: verified files and a model card only."""

from __future__ import annotations

from pathlib import Path

from .._arguments import checked
from ..lm.lora import adapter_files
from ..nn.hub import check_upload, scores_for_card, upload
from .model_card import card_text
from .saving import FILES, read_described


@checked
def push_to_hub(
    folder: str | Path,
    name: str,
    *,
    metrics: str | Path | None = None,
    license: str | None = None,
    private: bool = True,
    token: str | None = None,
) -> str:
    """Upload a model saved by :func:`save_pretrained`, with a model card.

    Every file is first compared with its digest. Only the files of the model are uploaded, as
    safetensors and JSON: no optimiser state, no recordings, no decoded text.

    Parameters
    ----------
    folder : str or Path
    name : str
        ``owner/model`` on the hub.
    metrics : str or Path, optional
        ``metrics.json`` of an evaluation, or ``scores.json`` of a run on several grids; the card
        shows each score with its chance level.
    license : str, optional
        License of the weights, as a license identifier of the hub.
    private : bool
        Whether a new repository is private. An existing repository keeps its setting.
    token : str, optional
        Access token. Default: the token stored by ``hf auth login``.

    Returns
    -------
    str
        URL of the commit.

    Raises
    ------
    CheckpointError
        The model is damaged or incomplete.
    MissingPartError
        huggingface_hub is not installed.
    InputError
        `metrics` is not a ``metrics.json`` of fastbrain, `name` has no owner, or the hub cannot be
        reached or rejects the model.
    """
    check_upload(name)
    root = Path(folder)
    described = read_described(root)
    text = card_text(described, scores=scores_for_card(metrics), license=license)
    adapter = adapter_files(root, described["card"].get("adapter", {}), function="push_to_hub")
    files = {file: root / file for file in (*FILES, *adapter, "manifest.json")}
    return upload(name, files, text, private=private, token=token)
