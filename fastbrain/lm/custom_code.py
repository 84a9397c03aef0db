"""Refuse models that bring code of their own, without importing any of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .._io import read_json
from ..errors import FastbrainError, InputError

# tables with words as keys, which the check for code must skip
_TABLES = ("tokenizer.json", "vocab.json", "added_tokens.json")
_CODE_KEYS = ("auto_map", "custom_pipelines")
# what transformers reads beside a GGUF file, which other files may share a folder with
_BESIDE_GGUF = ("config.json", "generation_config.json", "tokenizer_config.json")
# a value with a slash names a kernel repository, which transformers would download and import
_KERNEL_KEYS = ("attn_implementation", "_attn_implementation", "experts_implementation")
_DEEPEST = 16


def refuse_code(
    folder: Path, *, function: str, name: str | None = None, gguf: bool = False
) -> None:
    """Refuse a model with custom code in its configuration, without importing any of its files.

    Parameters
    ----------
    folder : Path
    function : str
        Name of the calling function, for messages.
    name : str, optional
        Name of the model in messages.
    gguf : bool
        The model is a GGUF file of the folder, and unrelated JSON may lie there.

    Raises
    ------
    InputError
        A configuration file names code, is not JSON, or belongs to an adapter of another model.
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
        if gguf and path.name not in _BESIDE_GGUF:
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


def _code_in(value: Any, depth: int = 0) -> str:
    """Find the first configuration entry that makes transformers import code; "" if none."""
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
