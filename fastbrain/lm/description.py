"""Configuration, tokenizer and shapes of a language model, without its weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .sources import SMALL_FILES, ModelSource, fetch_files, load_by, refuse_code


def find_description(name: str | Path, *, function: str) -> ModelSource:
    """Find configuration and tokenizer of a model as :func:`find_model` does, without its weights.

    Raises
    ------
    InputError
        There is no such model, or it contains custom code.
    """
    path, commit = Path(name), ""
    if not path.is_dir():
        path = fetch_files(str(name), None, SMALL_FILES, function)
        commit = path.name
    refuse_code(path, function=function, name=str(name))
    return ModelSource(str(name), commit, path, ())


def empty_model(source: ModelSource) -> Any:
    """Build a causal language model on the meta device: its shapes, without weights.

    Raises
    ------
    InputError
        The configuration cannot be read.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = load_by(AutoConfig, source, {})
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config, trust_remote_code=False)
