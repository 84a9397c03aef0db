"""Configuration, tokenizer, shapes and size of a model of transformers, without its weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError
from .gguf_files import find_gguf, find_package
from .sources import SMALL_FILES, ModelSource, fetch_files, find_model, quiet, refuse_code


def find_description(name: str | Path, *, function: str) -> ModelSource:
    """Find configuration and tokenizer of a model as :func:`find_model` does, without its weights.

    Raises
    ------
    InputError
        There is no such model, or it contains custom code.
    MissingPartError
        See :func:`find_model`.
    """
    path, commit = find_package(name, function), ""
    if find_gguf(path, function):
        return find_model(path, function=function)
    if not path.is_dir():
        path = fetch_files(str(name), None, SMALL_FILES, function)
        commit = path.name
    refuse_code(path, function=function, name=str(name))
    return ModelSource(str(name), commit, path, ())


def empty_model(source: ModelSource, kind: str = "AutoModelForCausalLM") -> Any:
    """Build a model on the meta device: its shapes, without weights.

    Parameters
    ----------
    source : ModelSource
    kind : {"AutoModelForCausalLM", "AutoModel"}

    Raises
    ------
    InputError
        The configuration cannot be read, or transformers does not know it.
    """
    import torch
    import transformers

    safe: dict[str, Any] = {"trust_remote_code": False}
    try:
        with quiet(), torch.device("meta"):
            config = transformers.AutoConfig.from_pretrained(
                source.folder, **safe, **source.read_from
            )
            return getattr(transformers, kind).from_config(config, **safe)
    except (ValueError, KeyError, OSError, AttributeError) as error:
        raise InputError(
            f"empty_model: '{source.name}' must have a configuration that transformers knows, got "
            f"{str(error).splitlines()[0]}"
        ) from error


@dataclass(frozen=True)
class ModelSize:
    """Size of a model.

    Parameters
    ----------
    parameters : int
    width : int
        Width of the token embeddings.
    depth : int
        Number of layers.
    """

    parameters: int
    width: int
    depth: int


def model_size(name: str, *, kind: str = "AutoModelForCausalLM", function: str) -> ModelSize:
    """Count the parameters of a model without its weights, which are not downloaded.

    Parameters
    ----------
    name : str
        Hub name or folder.
    kind : {"AutoModelForCausalLM", "AutoModel"}
    function : str
        Name of the calling function, for messages.

    Raises
    ------
    InputError
        There is no such configuration, it names code, or transformers does not know it.
    """
    model = empty_model(find_description(name, function=function), kind)
    config = model.config
    queried = getattr(config, "qformer_config", None)
    own = queried or getattr(config, "vision_config", None) or config.get_text_config()
    return ModelSize(
        sum(p.numel() for p in model.parameters()),
        int(own.hidden_size),
        int(getattr(own, "num_hidden_layers", 1)),
    )
