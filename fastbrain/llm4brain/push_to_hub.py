"""Upload a saved model to the hub: verified files and a model card only."""

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
_NO_CONNECTION = {"TransportError", "ConnectionError", "TimeoutError", "Timeout"}


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
        ``metrics.json`` of an evaluation; the card shows each score with its chance level.
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
    if len(parts := name.split("/")) != 2 or not all(parts):
        raise InputError(f"push_to_hub: name must be owner/model, got '{name}'. Add the owner.")
    root = Path(folder)
    described = read_described(root)
    scores = () if metrics is None else _scores(metrics)
    try:
        from huggingface_hub import HfApi
    except ImportError as error:
        raise MissingPartError(
            "push_to_hub: needs huggingface_hub. pip install 'fastbrain-fmri[hub]'"
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
        except Exception as error:  # error of the network, the hub or the name
            raise InputError(_refusal(error, name)) from error
    return str(getattr(done, "commit_url", done))


def _refusal(error: Exception, name: str) -> str:
    # by name: the client of the hub uses another HTTP library in each of its major versions
    kinds = {kind.__name__ for kind in type(error).__mro__}
    reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    if "OfflineModeIsEnabled" in kinds:
        return (
            "push_to_hub: the hub must be reachable, but HF_HUB_OFFLINE is set. Nothing was "
            "uploaded: unset it and run this again."
        )
    if kinds & _NO_CONNECTION:
        return (
            f"push_to_hub: the hub must be reachable, got no connection ({reason}). Nothing was "
            "uploaded: run this again on a machine that is online."
        )
    return (
        f"push_to_hub: the hub must take '{name}', got {reason}. Look at the name and the login "
        "(hf auth login)."
    )


def _scores(path: str | Path) -> list[dict[str, Any]]:
    try:
        return list(read_metrics(path, function="push_to_hub")["scores"])
    except CheckpointError as error:
        raise InputError(
            f"push_to_hub: metrics must be the metrics.json of an evaluation, got {path}: {error}"
        ) from error
