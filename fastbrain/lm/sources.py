"""Find and load transformers models; custom code and pickles are refused.

The configuration of a model can name Python files, which transformers would import, and its weights
can be a pickle. Both are refused before anything of the model is imported or, for a hub name,
before its weights are downloaded.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .._digests import remembered_sha256
from .._io import read_json
from ..errors import FastbrainError, InputError
from ..nn.saved_folder import plain_name
from .custom_code import refuse_code as refuse_code
from .gguf_files import find_gguf, find_package, forget_gguf, near_package, need_gguf

_HUB_NAME = re.compile(r"[\w][\w.-]*(/[\w][\w.-]*)?")
_INDEX, _SINGLE = "model.safetensors.index.json", "model.safetensors"
SMALL_FILES = ("*.json", "*.txt", "*.model", "*.jinja")


_only_local: ContextVar[bool] = ContextVar("only_local", default=False)


@contextmanager
def without_network(wanted: bool = True) -> Iterator[None]:
    """Take models of the hub from the cache of this machine alone while the block runs."""
    before = _only_local.set(wanted or _only_local.get())
    try:
        yield
    finally:
        _only_local.reset(before)


def download_options() -> dict[str, Any]:
    """Options of ``snapshot_download`` by which :func:`without_network` is kept."""
    return {"local_files_only": True} if _only_local.get() else {}


@dataclass(frozen=True)
class ModelSource:
    """A transformers model with checked files.

    Parameters
    ----------
    name : str
        Name on the hub, or absolute path of a folder.
    revision : str
        Commit on the hub; empty for a folder.
    folder : Path
    weights : tuple of str
        Names of the safetensors files, or of the GGUF file.
    gguf : str
        Name of the GGUF file that holds the whole model; empty for safetensors.
    """

    name: str
    revision: str
    folder: Path
    weights: tuple[str, ...]
    gguf: str = ""

    @property
    def place(self) -> Path:
        """Folder of the model, or its GGUF file."""
        return self.folder / self.gguf if self.gguf else self.folder

    @property
    def read_from(self) -> dict[str, str]:
        """Arguments by which transformers reads a GGUF file; none for safetensors."""
        return {"gguf_file": self.gguf} if self.gguf else {}

    def file_names(self) -> tuple[str, ...]:
        """Sorted names of all files that loading may read."""
        small = {
            p.name for pattern in SMALL_FILES for p in self.folder.glob(pattern) if p.is_file()
        }
        return tuple(sorted(small | set(self.weights)))

    def digests(self) -> dict[str, str]:
        """Hex sha256 of every file that loading may read, by name."""
        return {name: remembered_sha256(self.folder / name) for name in self.file_names()}


def find_model(name: str | Path, *, function: str, revision: str | None = None) -> ModelSource:
    """Find a transformers model and refuse one with custom code or without safetensors.

    Parameters
    ----------
    name : str or Path
        Folder, GGUF file, name of an installed package (``"smollm2"``), or name on the hub, which
        is downloaded unless `HF_HUB_OFFLINE` is set.
    function : str
        Name of the calling function, for messages.
    revision : str, optional
        Commit, tag or branch on the hub.

    Returns
    -------
    ModelSource

    Raises
    ------
    InputError
        There is no such model, it contains custom code, or its weights are neither safetensors nor
        one GGUF file.
    MissingPartError
        The package that reads GGUF files, or the one that holds the named model, is missing.
    """
    path = find_package(name, function)
    if file := find_gguf(path, function):
        need_gguf(function)
        refuse_code(file.parent, function=function, name=str(name), gguf=True)
        return ModelSource(str(path.resolve()), "", file.parent, (file.name,), file.name)
    if path.is_dir():
        return _checked(path, str(path.resolve()), "", function)
    if path.exists() or not _HUB_NAME.fullmatch(str(name)):
        found = "neither" if path.exists() else "no folder that exists, and no name on the hub"
        raise InputError(
            f"{function}: model must be a folder or a name on the hub, got '{name}', which is "
            f"{found}. Name the folder that holds its config.json."
        )
    folder = fetch_files(str(name), revision, SMALL_FILES, function)
    # the weights are downloaded only after the configuration has passed the check
    refuse_code(folder, function=function, name=str(name))
    commit = folder.name
    wanted = _weight_names(folder, function) or (_SINGLE,)
    folder = fetch_files(str(name), commit, wanted, function)
    return _checked(folder, str(name), commit, function)


def load_tokenizer(source: ModelSource, **options: Any) -> Any:
    """Load the tokenizer of a checked model.

    Raises
    ------
    InputError
        The tokenizer cannot be read.
    """
    from transformers import AutoTokenizer

    return load_by(AutoTokenizer, source, options)


def load_processor(source: ModelSource, **options: Any) -> Any:
    """Load the processor of a checked image or video model.

    Raises
    ------
    InputError
        The processor cannot be read, or needs a package that is not installed.
    """
    from transformers import AutoProcessor

    return load_by(AutoProcessor, source, options)


def load_weights_of(source: ModelSource, kind: str = "AutoModel", **options: Any) -> Any:
    """Load a checked model from safetensors, in evaluation mode.

    Parameters
    ----------
    source : ModelSource
    kind : str
        Name of the auto class of transformers.
    **options
        Further arguments of ``from_pretrained``.

    Raises
    ------
    InputError
        The model cannot be read.
    """
    import transformers

    auto = getattr(transformers, kind)
    model = load_by(auto, source, {"use_safetensors": True, **options})
    model.config._commit_hash = source.revision or None  # so that records contain the commit
    if source.gguf:
        forget_gguf(model)
    return model.eval()


@contextmanager
def quiet() -> Iterator[None]:
    """Context manager that hides the progress bars of transformers."""
    from transformers.utils import logging as hf

    shown = hf.is_progress_bar_enabled()
    hf.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            hf.enable_progress_bar()


def load_by(auto: Any, source: ModelSource, options: Mapping[str, Any]) -> Any:
    """Load a part of a checked model with an auto class of transformers."""
    try:
        # show a progress bar only for large models
        with quiet() if _small(source) else nullcontext():
            return auto.from_pretrained(
                str(source.folder),
                trust_remote_code=False,
                local_files_only=True,
                **source.read_from,
                **options,
            )
    except Exception as error:
        # the exception type for a damaged file depends on the model
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise InputError(
            f"{auto.__name__}: '{source.name}' must be a model of its kind that transformers can "
            f"read, got '{reason}'. Download it again, or use another model."
        ) from error


def _small(source: ModelSource) -> bool:
    return sum(os.path.getsize(source.folder / name) for name in source.weights) < 1 << 30


def _checked(folder: Path, name: str, revision: str, function: str) -> ModelSource:
    refuse_code(folder, function=function, name=name)
    if not (folder / "config.json").is_file():
        raise InputError(
            f"{function}: '{name}' must be a model of transformers, got no config.json in it. Name "
            "the folder that holds it."
        )
    weights = _weight_names(folder, function)
    if not weights or not all((folder / w).is_file() for w in weights):
        absent = [w for w in weights or (_SINGLE,) if not (folder / w).is_file()]
        others = sorted(p.name for p in folder.glob("*.bin"))
        remedy = (
            f" Convert it: fastbrain convert {folder / others[0]} {folder / _SINGLE}"
            if others
            else " Download it again, or name the folder that holds them."
        )
        raise InputError(
            f"{function}: '{name}' must hold its weights as safetensors, got no {absent[0]}"
            f"{f' but {others[0]}, a pickle' if others else ''}.{remedy}"
        )
    return ModelSource(name, revision, folder, weights)


def _weight_names(folder: Path, function: str) -> tuple[str, ...]:
    """List the safetensors files of a folder from its index; () if there are none yet."""
    if not (folder / _INDEX).exists():
        return (_SINGLE,) if (folder / _SINGLE).exists() else ()
    try:
        index = read_json(folder / _INDEX)
    except FastbrainError as error:
        raise InputError(f"{function}: {folder} must be readable: {error}") from error
    table = index.get("weight_map") if isinstance(index, dict) else None
    names = list(table.values()) if isinstance(table, dict) else []
    if not names or not all(plain_name(n) and n.endswith(".safetensors") for n in names):
        raise InputError(
            f"{function}: {folder / _INDEX} must map tensors to safetensors files beside it, got "
            "something else. The file is damaged."
        )
    return tuple(sorted(set(names)))


def fetch_files(name: str, revision: str | None, names: tuple[str, ...], function: str) -> Path:
    """Download files of these names from the hub; the returned folder is named by the commit."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(
            snapshot_download(
                name, revision=revision, allow_patterns=list(names), **download_options()
            )
        )
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        reason = reason.removeprefix("Got: ").rstrip(".")
        raise InputError(
            f"{function}: '{name}' must be a folder or a name on the hub, got neither: {reason}."
            f"{near_package(name)} Download it first, or name its folder."
        ) from error
