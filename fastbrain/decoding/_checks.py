"""Checks of language models and inputs for generation and scoring, before any forward pass."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import InputError
from ..lm.context import context_of

# names of the attention dropout rate in transformers configurations
_DROPOUTS = ("attention_dropout", "attn_pdrop", "attention_probs_dropout_prob")
EndTokens = int | Sequence[int] | Tensor | None


@dataclass(frozen=True)
class LanguageModel:
    """Properties of a checked language model that the searches need.

    Parameters
    ----------
    vocabulary : int
        Number of logits.
    context : int, optional
        Maximum number of positions; None if the configuration gives no limit.
    embedding : Tensor, (V, d)
        Token embeddings; they define width, precision and device.
    """

    vocabulary: int
    context: int | None
    embedding: Tensor


def language_model(function: str, llm: Any) -> LanguageModel:
    """Check that a model is a decoder-only language model with a key-value cache.

    Raises
    ------
    InputError
        The model is not a causal language model, has an encoder, applies dropout, or has a
        recurrent state or no key-value cache.
    """
    config = getattr(llm, "config", None)
    table = getattr(llm, "get_input_embeddings", lambda: None)()
    if config is None or table is None or not callable(llm):
        raise InputError(
            f"{function}: llm must be a causal language model of transformers, got "
            f"{type(llm).__name__}. Load one with fastbrain.load_llm."
        )
    if getattr(config, "is_encoder_decoder", False):
        raise InputError(
            f"{function}: llm must be a decoder-only model, got {type(llm).__name__} with an "
            "encoder. Use an AutoModelForCausalLM such as GPT-2, Llama or Qwen."
        )
    # an adapter wraps the model that has these attributes
    plain = llm.get_base_model() if hasattr(llm, "get_base_model") else llm
    can_generate = getattr(plain, "can_generate", None)
    if can_generate is not None and not can_generate():
        raise InputError(
            f"{function}: llm must predict tokens, got {type(plain).__name__} without an output "
            "layer for that. Load it with AutoModelForCausalLM."
        )
    if getattr(llm, "training", False) and _drops_out(plain):
        raise InputError(
            f"{function}: llm must not drop out, got one in training mode. Switch it to "
            "evaluation mode."
        )
    if getattr(plain, "_is_stateful", False):
        raise InputError(
            f"{function}: llm must keep keys and values of attention, got {type(plain).__name__}, "
            "with a recurrent state, which texts cannot share. Use a transformer such as GPT-2, "
            "Llama or Qwen."
        )
    takes = inspect.signature(type(plain).forward).parameters
    if can_generate is not None and "past_key_values" not in takes:
        raise InputError(
            f"{function}: llm must keep keys and values of attention, got {type(plain).__name__} "
            "without a cache. Use a transformer such as GPT-2, Llama or Qwen."
        )
    head = llm.get_output_embeddings()
    weight = getattr(head, "weight", None)  # a method of some quantised layers
    words = getattr(config, "vocab_size", None)
    words = len(weight) if isinstance(weight, Tensor) else words
    if words is None:
        raise InputError(
            f"{function}: llm must predict tokens, got {type(llm).__name__} without an output "
            "layer. Load it with AutoModelForCausalLM."
        )
    return LanguageModel(int(words), context_of(llm), table.weight)


def _drops_out(llm: Any) -> bool:
    """Return whether any dropout is active in a model, in modules or within its attention."""
    inside = any(getattr(llm.config, name, 0.0) for name in _DROPOUTS)
    return bool(inside) or any(
        isinstance(m, nn.Dropout) and m.training and m.p > 0 for m in llm.modules()
    )


def room(function: str, known: LanguageModel, before: int, text: int) -> None:
    """Raise InputError if a sequence is longer than the context.

    Raises
    ------
    InputError
    """
    if known.context is not None and before + text > known.context:
        raise InputError(
            f"{function}: what is read and written must fit the language model's context of "
            f"{known.context} tokens, got {before} + {text}. Shorten the prompt or the text."
        )


def embeddings(
    function: str, name: str, value: Any, known: LanguageModel, *, least: int = 1
) -> Tensor:
    """Check embeddings (B, S >= `least`, d) and cast them to the precision of the model.

    Raises
    ------
    InputError
        The value is not a dense floating-point tensor of this shape, is on another device, or is
        not finite.
    """
    width, device = known.embedding.shape[1], known.embedding.device
    if (
        not isinstance(value, Tensor)
        or value.layout is not torch.strided
        or not value.is_floating_point()
        or value.ndim != 3
        or value.shape[1] < least
        or value.shape[2] != width
    ):
        raise InputError(
            f"{function}: {name} must be floating-point (B, S >= {least}, {width}), got "
            f"{described(value)}."
        )
    if value.device != device:
        raise InputError(
            f"{function}: {name} must be on {device} like the language model, got {value.device}. "
            "Move it there."
        )
    if not bool(value.isfinite().all()):
        raise InputError(
            f"{function}: {name} must be finite, got NaN or infinity. Look at the recordings and "
            "the weights that made it."
        )
    return value.to(known.embedding.dtype)


def tokens(
    function: str, name: str, value: Any, mask: Any, known: LanguageModel
) -> tuple[Tensor, Tensor]:
    """Check token ids (M, T) int64 and their mask (M, T) bool, padded on the right.

    Raises
    ------
    InputError
        Shapes or types differ, the mask has a gap, a text is empty, or a token is not in the
        vocabulary.
    """
    if (
        not is_dense(value, torch.int64)
        or value.ndim != 2
        or not is_dense(mask, torch.bool)
        or value.shape != mask.shape
    ):
        raise InputError(
            f"{function}: {name} and mask must be (M, T) int64 and bool, got {described(value)} "
            f"and {described(mask)}."
        )
    if not bool(mask.any(dim=1).all()):
        raise InputError(
            f"{function}: every text must have at least one token, got an empty one. Leave it out."
        )
    if bool((mask[:, 1:] & ~mask[:, :-1]).any()):
        raise InputError(f"{function}: {name} must be padded on the right, got a gap in the mask.")
    named = value[mask]
    if bool(((named < 0) | (named >= known.vocabulary)).any()):
        raise InputError(
            f"{function}: {name} must be tokens in [0, {known.vocabulary}), got "
            f"{int(named.min())} to {int(named.max())}. Use the tokenizer of this language model."
        )
    return value, mask


def bias(
    function: str, value: Any, rows: int, known: LanguageModel, *, never: Sequence[int] = ()
) -> Tensor:
    """Check added logits (rows, V); minus infinity bans a token, `never` lists further banned ones.

    Raises
    ------
    InputError
    """
    shape = (rows, known.vocabulary)
    dense = isinstance(value, Tensor) and value.layout is torch.strided
    if not dense or not value.is_floating_point() or tuple(value.shape) != shape:
        raise InputError(
            f"{function}: logit_bias must have {rows} rows of {known.vocabulary} floating-point "
            f"logits, got {described(value)}."
        )
    if value.device != known.embedding.device:
        raise InputError(
            f"{function}: logit_bias must be on {known.embedding.device}, got {value.device}. "
            "Move it there."
        )
    left = value > -torch.inf
    left[:, list(never)] = False
    if not bool((value < torch.inf).all()) or not bool(left.any(dim=1).all()):
        raise InputError(
            f"{function}: logit_bias must be below infinity and leave a word in every row, got "
            "NaN, infinity or a row that bans all words (but for the end, where the text may not "
            "end yet)."
        )
    return value


def end_tokens(function: str, value: EndTokens, known: LanguageModel) -> tuple[int, ...]:
    """Check end tokens and return them as a tuple; empty for None, which disables early stopping.

    Raises
    ------
    InputError
        A value is not an integer or not a token, the list is empty or contains every token.
    """
    if value is None:
        return ()
    if isinstance(value, Tensor):
        if not is_dense(value, torch.int64, torch.int32):
            raise InputError(f"{function}: eos_token_id must be integers, got {described(value)}.")
        value = value.tolist()
    listed = list(value) if isinstance(value, (list, tuple)) else [value]
    found = tuple(dict.fromkeys(token(function, "eos_token_id", one, known) for one in listed))
    if not found or len(found) >= known.vocabulary:
        raise InputError(
            f"{function}: eos_token_id must be None or some of the {known.vocabulary} tokens, got "
            f"{len(found)}. None never stops before max_new_tokens."
        )
    return found


def token(function: str, name: str, value: Any, known: LanguageModel) -> int:
    """Check one token of the vocabulary.

    Raises
    ------
    InputError
    """
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole or not 0 <= value < known.vocabulary:
        raise InputError(
            f"{function}: {name} must be a token in [0, {known.vocabulary}), got {value!r}. "
            "Use the tokenizer of this language model."
        )
    return int(value)


def predicted(function: str, logits: Tensor) -> Tensor:
    """Check that logits (..., V) define a distribution.

    Raises
    ------
    InputError
        A row contains NaN or plus infinity, or only minus infinity.
    """
    # the maximum of a row is NaN or infinite if the row contains NaN or infinity
    if not bool(logits.amax(dim=-1).isfinite().all()):
        raise InputError(
            f"{function}: the language model must predict finite logits, got NaN or infinity. "
            "Look at its weights; float16 overflows in many models: use bfloat16 or float32."
        )
    return logits


def is_dense(value: Any, *dtypes: torch.dtype) -> bool:
    """Return whether a value is a dense tensor of one of these types."""
    return isinstance(value, Tensor) and value.layout is torch.strided and value.dtype in dtypes


def described(value: Any) -> str:
    """Describe type and shape of a value for a message."""
    if not isinstance(value, Tensor):
        return type(value).__name__
    return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
