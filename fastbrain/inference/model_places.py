"""Find the run that a model is decoded with: a run folder, a saved model, or a name on the hub."""

from __future__ import annotations

import re
from pathlib import Path

from .._progress import say
from .._run_kind import RunKind, run_kind
from .._runfiles import UPLOADED
from ..errors import CheckpointError, InputError
from ..lm.loading import local_folder
from ..lm.sources import without_network
from .sentence_runs import run_around, saved_decoder

_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")


def find_run(
    model: str | Path, *, revision: str | None = None, download: bool = False, function: str
) -> tuple[Path, RunKind, Path | None]:
    """Return the folder of the run of a model, which system it is of, and its sentence decoder.

    The last is None for the model of the run itself.

    Parameters
    ----------
    model : str or Path
        Run folder, the folder ``model`` of a run, ``decoders/NAME`` in a run, or a name on the hub
        (``owner/model``).
    revision : str, optional
        Commit, tag or branch on the hub.
    download : bool
        Whether a name on the hub may be fetched; otherwise it must be in the cache.
    function : str
        Name of the calling function, for messages.

    Raises
    ------
    InputError
        A name on the hub is not in the cache, and `download` is false; or `revision` is given for a
        folder.
    CheckpointError
        There is no such folder, it is of no run, or the hub has no such model.
    """
    path = Path(model)
    if not path.exists():
        path = _of_hub(str(model), revision, download, function)
    elif revision is not None:
        raise InputError(
            f"{function}: revision must be None for a folder, got {revision!r} for {model}. Leave "
            "it out."
        )
    if decoder := saved_decoder(path):
        run = run_around(decoder, function=function)
        return run, run_kind(run, function=function), decoder
    if (path / UPLOADED / "manifest.json").is_file():
        path = path / UPLOADED
    elif (path / "model.safetensors").is_file():
        path = _around(path, function)
    return path, run_kind(path, function=function), None


def _of_hub(name: str, revision: str | None, download: bool, function: str) -> Path:
    if not _HUB_NAME.fullmatch(name):
        raise CheckpointError(
            f"{function}: model must be a folder or a name on the hub, got {name!r}, which is "
            "neither. Name a run folder."
        )
    if download:
        say(f"{name} is taken from the Hugging Face hub")
        return local_folder(name, revision)
    with without_network():
        try:
            return local_folder(name, revision)
        except CheckpointError as error:
            raise InputError(
                f"{function}: model must be a folder, or a name on the hub that is in the cache, "
                f"got {name!r}, which is neither. Pass download=True to fetch it."
            ) from error


def _around(folder: Path, function: str) -> Path:
    """Return the run that holds the folder of a saved model."""
    run = folder.resolve().parent
    if (run / "manifest.json").is_file() and folder.resolve().name == "model":
        return run
    raise CheckpointError(
        f"{function}: {folder} must be in the folder of its run, or uploaded from there, got a "
        "saved model alone, which does not say how scans are prepared. Name the run, or decode the "
        "windows of a store with fastbrain.from_pretrained and fastbrain.decode_windows."
    )
