"""A saved model to the hub: checked, with its card, and nothing beside it."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from .._arguments import checked
from .._io import write_atomic
from .._runfiles import read_metrics
from ..errors import CheckpointError, InputError, MissingPartError
from .model_card import card_text
from .saving import FILES, read_described

SHARED = (*FILES, "manifest.json", "README.md")


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
    """Upload a model that :func:`save_pretrained` wrote, with a card that says what it is worth.

    Every file is compared with its digest first. Only the model's own files go, as safetensors and
    JSON: no optimiser, no recordings, no decoded text.

    Parameters
    ----------
    folder : str or Path
    name : str
        ``owner/model`` on the hub.
    metrics : str or Path, optional
        ``metrics.json`` of its evaluation; the scores go on the card, each beside its chance level.
    license : str, optional
        Of the weights, as the hub knows it.
    private : bool
        Whether a new repository is private. An existing one stays what it is.
    token : str, optional
        Default: what ``hf auth login`` left.

    Returns
    -------
    str
        Address of the commit.

    Raises
    ------
    CheckpointError
        The model is damaged or not whole.
    MissingPartError
        huggingface_hub is not installed.
    InputError
        The metrics are none of ours, or the hub cannot be reached or refuses the model.
    """
    root = Path(folder)
    described = read_described(root)
    scores = () if metrics is None else _scores(metrics)
    try:
        from huggingface_hub import HfApi
    except ImportError as error:
        raise MissingPartError(
            "push_to_hub: needs huggingface_hub. pip install 'fastbrain[hub]'"
        ) from error
    text = card_text(described, scores=scores, license=license)
    api = HfApi(token=token)
    with TemporaryDirectory() as staging:
        for file in SHARED[:-1]:
            (Path(staging) / file).symlink_to((root / file).resolve())
        write_atomic(Path(staging) / "README.md", text)
        try:
            api.create_repo(name, private=private, exist_ok=True)
            done: Any = api.upload_folder(
                repo_id=name,
                folder_path=staging,
                allow_patterns=list(SHARED),
                commit_message="Model of fastbrain",
            )
        except Exception as error:  # of the network, of the hub, or of what the name must be
            reason = " ".join(str(error).split())[:200]
            raise InputError(
                f"push_to_hub: the hub must be reachable and take '{name}', got "
                f"{type(error).__name__}: {reason}. Look at the network, the name and the login "
                "(hf auth login)."
            ) from error
    return str(getattr(done, "commit_url", done))


def _scores(path: str | Path) -> list[dict[str, Any]]:
    try:
        return list(read_metrics(path, function="push_to_hub")["scores"])
    except CheckpointError as error:
        raise InputError(
            f"push_to_hub: metrics must be the metrics.json of an evaluation, got {path}: {error}"
        ) from error
