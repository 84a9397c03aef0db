"""Number of parameters and widths of a transformers model, from its configuration alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from .sources import fetch_files, quiet, refuse_code


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
    """Count the parameters of a model without its weights; only ``config.json`` is downloaded.

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
    import torch
    import transformers

    folder = Path(name)
    if not folder.is_dir():
        folder = fetch_files(name, None, ("config.json",), function)
    refuse_code(folder, function=function, name=name)
    try:
        with quiet(), torch.device("meta"):
            config = transformers.AutoConfig.from_pretrained(folder)
            model = getattr(transformers, kind).from_config(config)
    except (ValueError, KeyError, OSError, AttributeError) as error:
        raise InputError(
            f"{function}: '{name}' must have a configuration that transformers knows, got "
            f"{str(error).splitlines()[0]}"
        ) from error
    queried = getattr(config, "qformer_config", None)
    own = queried or getattr(config, "vision_config", None) or config.get_text_config()
    return ModelSize(
        sum(p.numel() for p in model.parameters()),
        int(own.hidden_size),
        int(getattr(own, "num_hidden_layers", 1)),
    )
