"""Upload a saved model to the hub: verified files and a model card only."""

from __future__ import annotations

from pathlib import Path

from .._arguments import checked
from ..lm.lora import adapter_files
from ..nn.hub import check_upload, scores_for_card, shared_files, upload
from ..training.uploaded_run import run_files
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

    Every file is first compared with its digest. The files of the model are uploaded, and of the
    run that holds it the manifest and the preparation, by which it decodes new scans: grid, filter,
    and mean, spread and limits of the training windows. Of a run on several grids only the model
    goes. No optimiser state, no recordings, no decoded text.

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
    files = shared_files(root, (*FILES, *adapter))
    if root.name == "model":
        files |= run_files(root.parent, function="push_to_hub")
    return upload(name, files, text, private=private, token=token)
