"""Models of transformers: found, checked for code and pickles, then loaded. The only loader here.

A model's configuration can name Python files of its own, which transformers would import, and its
weights can be a pickle. Both are refused before anything of the model is imported or, for a name on
the hub, before its weights are fetched.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .._digests import remembered_sha256
from .._io import read_json
from ..errors import FastbrainError, InputError
from ..nn.saved_folder import plain_name

_HUB_NAME = re.compile(r"[\w][\w.-]*(/[\w][\w.-]*)?")
_INDEX, _SINGLE = "model.safetensors.index.json", "model.safetensors"
_SMALL = ("*.json", "*.txt", "*.model", "*.jinja")
# tables of words, whose keys are the words themselves
_TABLES = ("tokenizer.json", "vocab.json", "added_tokens.json", _INDEX)
_CODE_KEYS = ("auto_map", "custom_pipelines")
# a value with a slash names a repository of kernels, which transformers would fetch and import
_KERNEL_KEYS = ("attn_implementation", "_attn_implementation", "experts_implementation")
_DEEPEST = 16


@dataclass(frozen=True)
class ModelSource:
    """A model of transformers whose files were checked.

    Parameters
    ----------
    name : str
        Name on the hub, or absolute path of a folder.
    revision : str
        Commit on the hub; empty for a folder.
    folder : Path
    weights : tuple of str
        Names of the safetensors files.
    """

    name: str
    revision: str
    folder: Path
    weights: tuple[str, ...]

    def file_names(self) -> tuple[str, ...]:
        """Names of all files that loading may read, sorted."""
        small = {p.name for pattern in _SMALL for p in self.folder.glob(pattern) if p.is_file()}
        return tuple(sorted(small | set(self.weights)))

    def digests(self) -> dict[str, str]:
        """Hex sha256 of every file that loading may read, by name."""
        return {name: remembered_sha256(self.folder / name) for name in self.file_names()}


def find_model(name: str | Path, *, function: str, revision: str | None = None) -> ModelSource:
    """Find a model of transformers and refuse one with code or without safetensors.

    Parameters
    ----------
    name : str or Path
        Folder, or name on the hub; that is fetched unless `HF_HUB_OFFLINE` is set.
    function : str
        Who asks, for messages.
    revision : str, optional
        Commit, tag or branch on the hub.

    Returns
    -------
    ModelSource

    Raises
    ------
    InputError
        There is no such model, it brings code of its own, or its weights are not safetensors.
    """
    path = Path(name)
    if path.is_dir():
        return _checked(path, str(path.resolve()), "", function)
    if path.exists() or not _HUB_NAME.fullmatch(str(name)):
        raise InputError(
            f"{function}: model must be a folder or a name on the hub, got '{name}', which is "
            "neither. Name the folder that holds its config.json."
        )
    folder = _fetch(str(name), revision, _SMALL, function)
    # weights are fetched only once the configuration is known to be harmless
    refuse_code(folder, function=function, name=str(name))
    commit = folder.name
    wanted = _weight_names(folder, function) or (_SINGLE,)
    folder = _fetch(str(name), commit, wanted, function)
    return _checked(folder, str(name), commit, function)


def refuse_code(folder: Path, *, function: str, name: str | None = None) -> None:
    """Refuse a model whose configuration names code of its own; no file of it is imported.

    Parameters
    ----------
    folder : Path
    function : str
        Who asks, for messages.
    name : str, optional
        What to call the model in messages.

    Raises
    ------
    InputError
        A configuration file names code, is not JSON, or is an adapter of another model.
    """
    name = name or str(folder)
    if (folder / "adapter_config.json").exists():
        raise InputError(
            f"{function}: '{name}' must be a whole model, got an adapter (adapter_config.json), "
            "which names another model to load. Merge it (merge_and_unload) and save the result."
        )
    for path in sorted(folder.glob("*.json")):
        if path.name in _TABLES or path.name.endswith(".index.json"):
            continue
        try:
            found = _code_in(read_json(path))
        except FastbrainError as error:
            raise InputError(f"{function}: '{name}' must be readable: {error}") from error
        if found:
            raise InputError(
                f"{function}: '{name}' must not bring code of its own, got '{found}' in "
                f"{path.name}. Code of a model never runs here: use a model of an architecture "
                "that transformers has, or, where it has this one, a copy of the folder without "
                "that entry."
            )


def load_tokenizer(source: ModelSource, **options: Any) -> Any:
    """Tokenizer of a checked model.

    Raises
    ------
    InputError
        It cannot be read.
    """
    from transformers import AutoTokenizer

    return _load(AutoTokenizer, source, options)


def load_processor(source: ModelSource, **options: Any) -> Any:
    """Processor of a checked model of images or videos.

    Raises
    ------
    InputError
        It cannot be read, or needs a package that is not installed.
    """
    from transformers import AutoProcessor

    return _load(AutoProcessor, source, options)


def load_weights_of(source: ModelSource, kind: str = "AutoModel", **options: Any) -> Any:
    """A checked model, in evaluation mode, from safetensors.

    Parameters
    ----------
    source : ModelSource
    kind : str
        Name of the auto class of transformers.
    **options
        For ``from_pretrained``.

    Raises
    ------
    InputError
        It cannot be read.
    """
    import transformers

    auto = getattr(transformers, kind)
    model = _load(auto, source, {"use_safetensors": True, **options})
    model.config._commit_hash = source.revision or None  # for records
    return model.eval()


@contextmanager
def quiet() -> Iterator[None]:
    """Read or write a model without transformers' progress bars."""
    from transformers.utils import logging as hf

    shown = hf.is_progress_bar_enabled()
    hf.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            hf.enable_progress_bar()


def _load(auto: Any, source: ModelSource, options: Mapping[str, Any]) -> Any:
    try:
        # a bar for what takes milliseconds is noise, one for gigabytes is not
        with quiet() if _small(source) else nullcontext():
            return auto.from_pretrained(
                str(source.folder), trust_remote_code=False, local_files_only=True, **options
            )
    except Exception as error:
        # a damaged configuration or file fails in as many ways as there are models
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
    """Safetensors files of a folder as its index lists them; () where there is nothing yet."""
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


def _code_in(value: Any, depth: int = 0) -> str:
    """The first entry of a configuration that would make transformers import code, "" if none."""
    if depth > _DEEPEST:
        return "an entry too deep to check"
    if isinstance(value, list):
        return next(filter(None, (_code_in(item, depth + 1) for item in value)), "")
    if not isinstance(value, dict):
        return ""
    for key, item in value.items():
        if key in _CODE_KEYS and item:
            return str(key)
        if key in _KERNEL_KEYS and "/" in str(item):
            return str(key)
        if found := _code_in(item, depth + 1):
            return found
    return ""


def _fetch(name: str, revision: str | None, names: tuple[str, ...], function: str) -> Path:
    """Snapshot of a hub model that holds files of these names, its folder named by the commit."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=list(names)))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise InputError(
            f"{function}: '{name}' must be a folder or a name on the hub, got neither: "
            f"{next(iter(str(error).strip().splitlines()), type(error).__name__)} Download it "
            "first, or name its folder."
        ) from error
