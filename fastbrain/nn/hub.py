"""Upload the files of a trained model, with its card, to the Hugging Face hub."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from .._io import read_json, write_atomic
from .._runfiles import read_metrics, read_pooled_scores
from ..errors import CheckpointError, InputError, MissingPartError
from .card_parts import without_path

_NO_CONNECTION = {"TransportError", "ConnectionError", "TimeoutError", "Timeout"}
CARD = "README.md"


def check_upload(name: str) -> None:
    """Raise unless a model can be uploaded under a name.

    Raises
    ------
    InputError
        `name` is not owner/model.
    MissingPartError
        huggingface_hub is not installed.
    """
    if len(parts := name.split("/")) != 2 or not all(parts):
        raise InputError(f"push_to_hub: name must be owner/model, got '{name}'. Add the owner.")
    try:
        import huggingface_hub  # noqa: F401
    except ImportError as error:
        raise MissingPartError(
            "push_to_hub: needs huggingface_hub. pip install 'fastbrain-fmri[hub]'"
        ) from error


def upload(
    name: str, files: Mapping[str, Path | str], card: str, *, private: bool, token: str | None
) -> str:
    """Upload files and a model card, and nothing else.

    Parameters
    ----------
    name : str
        ``owner/model`` on the hub.
    files : mapping of str to Path or str
        By path in the repository: a file to copy, or the text of a file.
    card : str
        Text of ``README.md``.
    private : bool
        Whether a new repository is private.
    token : str or None

    Returns
    -------
    str
        URL of the commit.

    Raises
    ------
    InputError
        The hub cannot be reached or rejects the model.
    """
    from huggingface_hub import HfApi

    api = HfApi(token=token)
    with TemporaryDirectory() as staging:
        for file, content in {**files, CARD: card}.items():
            place = Path(staging) / file
            place.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, Path):
                place.symlink_to(content.resolve())
            else:
                write_atomic(place, content)
        try:
            api.create_repo(name, private=private, exist_ok=True)
            done: Any = api.upload_folder(
                repo_id=name,
                folder_path=staging,
                allow_patterns=[*files, CARD],
                commit_message="Model of fastbrain",
            )
        except Exception as error:  # error of the network, the hub or the name
            raise InputError(_refusal(error, name)) from error
    return str(getattr(done, "commit_url", done))


def shared_files(root: Path, files: Sequence[str]) -> dict[str, Path | str]:
    """Return the files of a saved model as they are uploaded: without the paths of this machine.

    A language model in a local folder is named by the name of the folder alone, in ``config.json``,
    and ``manifest.json`` has the digest of that.

    Parameters
    ----------
    root : Path
        Folder of a saved model that was verified.
    files : sequence of str
        Names of its files, without the manifest.
    """
    described = read_json(root / "config.json")
    card = described["card"]
    card["llm"] = without_path(card["llm"])
    if card.get("language"):
        card["language"]["name"] = without_path(card["language"]["name"])
    config = json.dumps(described, indent=2) + "\n"
    digest = hashlib.sha256(config.encode()).hexdigest()
    manifest = {**read_json(root / "manifest.json"), "config.json": digest}
    shared: dict[str, Path | str] = {name: root / name for name in files}
    return shared | {
        "config.json": config,
        "manifest.json": json.dumps(manifest, indent=2) + "\n",
    }


def scores_for_card(path: str | Path | None) -> list[dict[str, Any]]:
    """Read the scores of a ``metrics.json`` or ``scores.json``; none without a file.

    Raises
    ------
    InputError
        It is not a ``metrics.json`` of fastbrain.
    """
    if path is None:
        return []
    try:
        if Path(path).name == "scores.json":
            return read_pooled_scores(path, function="push_to_hub")
        return list(read_metrics(path, function="push_to_hub")["scores"])
    except CheckpointError as error:
        raise InputError(
            f"push_to_hub: metrics must be the metrics.json of an evaluation, got {path}: {error}"
        ) from error


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
