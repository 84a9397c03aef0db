"""Digests that identify language models, encoders and tokenizers, however they were loaded."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from .device_map import weight_value
from .prompt_layout import document_start

if TYPE_CHECKING:
    from torch import Tensor

_DIGITS = 32
_SAMPLED_DIGITS = 16  # of earlier versions, which sampled the values
# names, versions, further outputs, and what matters in training alone
_NO_SETTING = {
    "architectures", "bos_token_id", "chunk_size_feed_forward", "dtype", "eos_token_id",
    "gradient_checkpointing", "id2label", "initializer_factor", "initializer_range", "label2id",
    "output_attentions", "output_hidden_states", "pretraining_tp", "problem_type",
    "quantization_config", "return_dict", "torch_dtype", "transformers_version", "unk_token_id",
    "use_cache",
}  # fmt: skip
_TOKENS = ("bos_token_id", "eos_token_id", "unk_token_id", "cls_token_id", "sep_token_id")
_RULES = (
    "model_max_length", "truncation_side", "padding_side", "clean_up_tokenization_spaces",
    "split_special_tokens",
)  # fmt: skip


def model_digest(model: Any, *, like: str | None = None) -> str:
    """Compute a hash of all weights of a model and of the settings that its output depends on.

    Values are hashed in bfloat16, so that loading in float32 or bfloat16 does not matter.

    Parameters
    ----------
    model : PreTrainedModel
        Of a model that is being tuned with LoRA, only the base weights are hashed.
    like : str, optional
        A recorded digest to compare with. A digest of an earlier version covers 64 values of every
        weight and no settings; for one of these, the same kind is computed.

    Returns
    -------
    str
        Hexadecimal digits.
    """
    import torch

    sampled = like is not None and len(like) == _SAMPLED_DIGITS
    digest = hashlib.sha256()
    for name, shape, flat in _values(model, buffers=not sampled):
        if sampled:
            flat = _sample(flat).to(torch.bfloat16).float()
        elif flat.is_floating_point():
            flat = flat.to(torch.bfloat16)
        digest.update(f"{name}{shape}".encode())
        digest.update(flat.cpu().contiguous().view(torch.uint8).numpy().data)
    if sampled:
        return digest.hexdigest()[:_SAMPLED_DIGITS]
    config = getattr(model, "config", None)
    # ends of what it writes, beside those of the tokenizer
    ends = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    settings = [None if config is None else _settings(config.to_dict()), ends]
    digest.update(json.dumps(settings, sort_keys=True).encode())
    return digest.hexdigest()[:_DIGITS]


def vocabulary_digest(tokenizer: Any) -> str:
    """Compute a hash of how a tokenizer maps texts to tokens and back.

    Padding and truncation of the last call are left out; the longest input is not.

    Parameters
    ----------
    tokenizer : PreTrainedTokenizer

    Returns
    -------
    str
        32 hexadecimal digits.
    """
    core = getattr(tokenizer, "backend_tokenizer", None)
    if core is None:
        found = {"class": type(tokenizer).__name__, "merges": _merges(tokenizer)}
        found["vocabulary"] = tokenizer.get_vocab()
    else:
        found = {**json.loads(core.to_str()), "padding": None, "truncation": None}
    special = {name: getattr(tokenizer, name, None) for name in (*_TOKENS, *_RULES)}
    # where a document begins also depends on the chat template
    parts = [found, special, document_start(tokenizer)[0]]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:_DIGITS]


def _values(model: Any, *, buffers: bool) -> Iterator[tuple[str, tuple[int, ...], Tensor]]:
    """Name, shape and flat values of every weight, and of the buffers that are saved with them."""
    # of a model that is being tuned with LoRA, the base weights
    weights = {n.replace(".base_layer.", "."): w for n, w in model.named_parameters()}
    if buffers:
        saved = model.state_dict().keys()
        weights |= {n: b for n, b in model.named_buffers() if n in saved}
    for name, weight in sorted((n, w) for n, w in weights.items() if ".lora_" not in n):
        if weight.device.type == "meta":
            weight = weight_value(model, name)
        flat = (weight.dequantize() if _is_packed(weight) else weight).detach().flatten()
        yield name, tuple(weight.shape), flat


def _sample(flat: Tensor) -> Tensor:
    import torch

    last = len(flat) - 1
    # numbers above 2^24 are rounded, the last one perhaps beyond the end
    places = torch.linspace(0, last, min(64, len(flat))).long().clamp(max=last)
    return flat[places.to(flat.device)]


def _settings(value: Any) -> Any:
    """Copy a configuration without what does not change the output, or is off.

    An option that is off counts as none, since a later version of transformers may add it.
    """
    if isinstance(value, Mapping):
        kept = {
            str(name): _settings(one)
            for name, one in value.items()
            if name not in _NO_SETTING and not str(name).startswith("_")
            if one is not None and one is not False and "drop" not in str(name)
        }
        return {name: one for name, one in kept.items() if one not in ({}, [])}
    if isinstance(value, list | tuple | set):
        return [_settings(one) for one in (sorted(value) if isinstance(value, set) else value)]
    if isinstance(value, float):
        # a GGUF file holds float32
        return int(value) if value.is_integer() else f"{value:.6g}"
    return value if isinstance(value, bool | int | str | None) else str(value)


def _merges(tokenizer: Any) -> Any:
    """Rules by which a slow tokenizer joins pieces."""
    pieces = getattr(tokenizer, "sp_model", None)
    if pieces is not None:
        return hashlib.sha256(pieces.serialized_model_proto()).hexdigest()
    ranks = getattr(tokenizer, "bpe_ranks", None) or {}
    return sorted((rank, list(pair)) for pair, rank in ranks.items())


def _is_packed(weight: Any) -> bool:
    """Whether a weight is a tensor of torchao, which has no values to read one by one."""
    return type(weight).__module__.startswith("torchao")
