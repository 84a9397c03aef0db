"""Likelihood of answers under a frozen LLM, given a prefix of brain tokens.

Works with any causal LM that accepts `inputs_embeds`. The vocabulary projection, the widest matrix
of the step, is computed only at positions with a loss, and a prefix common to several answers is
computed once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import InputError
from ..ops.module_checks import untouched
from .attention_window import check_after, padded_left
from .shared_prompt import SharedPrompt


def layout(
    llm: Any,
    prefix: Tensor,
    prompt_ids: Tensor,
    *,
    prompt_mask: Tensor | None = None,
    start: Sequence[int] = (),
    turn: Sequence[int] = (),
    prompt_first: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Concatenate [start | prefix | prompt | turn] as embeddings.

    Parameters
    ----------
    llm : PreTrainedModel
    prefix : Tensor, (B, L, d_llm)
    prompt_ids : Tensor, (P,) or (B, P) int64
        One prompt for all rows, or one per row.
    prompt_mask : Tensor, (B, P) bool, optional
        False on padding.
    start, turn : sequence of int
        Tokens at the beginning and end of every row; see :class:`.PromptLayout`.
    prompt_first : bool
        Whether the prompt precedes the prefix.

    Returns
    -------
    embeddings : Tensor, (B, T, d_llm)
    mask : Tensor, (B, T) bool, or None
        None when nothing is padded.

    Raises
    ------
    InputError
        The prompts have another shape, or nothing precedes the text.
    """
    b, length = prefix.shape[:2]
    if prompt_ids.ndim == 1:
        prompt_ids = prompt_ids.expand(b, -1)
    if prompt_ids.ndim != 2 or len(prompt_ids) != b:
        raise InputError(
            f"layout: prompt_ids must be (P,) or ({b}, P), got {tuple(prompt_ids.shape)}."
        )
    embed = llm.get_input_embeddings()
    prompt = embed(prompt_ids)
    prefix = prefix.to(prompt.dtype)
    parts = [prompt, prefix] if prompt_first else [prefix, prompt]
    masks = None
    if prompt_mask is not None:
        masks = [prompt_mask.bool(), prompt_mask.new_ones(b, length, dtype=torch.bool)]
        masks = masks if prompt_first else masks[::-1]
    for tokens, place in ((start, 0), (turn, 3)):
        if tokens:
            parts.insert(place, embed(prompt_ids.new_tensor(tokens)).expand(b, -1, -1))
            if masks is not None:
                masks.insert(place, masks[0].new_ones(b, len(tokens)))
    if not sum(part.shape[1] for part in parts):
        raise InputError(
            "layout: something must precede a text, got no brain token, no prompt and no token of "
            "the layout. Choose layout 'document', or give a prompt."
        )
    return torch.cat(parts, dim=1), None if masks is None else torch.cat(masks, dim=1)


def answer_nll(
    llm: Any,
    before: Tensor,
    before_mask: Tensor | None,
    answer_ids: Tensor,
    answer_mask: Tensor,
    *,
    logit_bias: Tensor | None = None,
    rows: Tensor | None = None,
    after: SharedPrompt | None = None,
) -> Tensor:
    """Negative log-likelihood of every answer token given all tokens before it.

    Parameters
    ----------
    llm : PreTrainedModel
    before : Tensor, (N, T, d_llm)
        Embeddings from :func:`layout`.
    before_mask : Tensor, (N, T) bool, or None
    answer_ids : Tensor, (B, A) int64
    answer_mask : Tensor, (B, A) bool
        True on tokens with a loss; padding is at the end.
    logit_bias : Tensor, (N, V), optional
        Added to the logits of every step of a row.
    rows : Tensor, (B,) int64, optional
        Row of `before` that each answer continues; each row is computed once for all its answers.
        Default: N = B, one row per answer.
    after : SharedPrompt, optional
        Cached prompt that precedes all rows of `before`; it receives no gradient.

    Returns
    -------
    Tensor, (B, A) float32
        Nats; 0 where the mask is false.

    Raises
    ------
    InputError
        Shapes disagree, or padding follows `after` and the sequence exceeds a sliding window of the
        model.
    """
    count = len(before) if rows is None else len(rows)
    if answer_ids.shape != answer_mask.shape or len(answer_ids) != count:
        raise InputError(
            f"answer_nll: answer_ids and answer_mask must be ({count}, A), got "
            f"{tuple(answer_ids.shape)} and {tuple(answer_mask.shape)}."
        )
    answer_mask = answer_mask.bool()
    # no scored token follows the last answer token, so it is not an input
    spoken = llm.get_input_embeddings()(answer_ids[:, :-1])
    mask = before_mask
    if mask is not None and after is None:
        before, mask = padded_left(llm, before, mask)
    elif mask is not None and after is not None:
        places = len(after) + before.shape[1] + answer_ids.shape[1]
        check_after("answer_nll", llm, mask, places)
        mask = torch.cat([after.mask(len(before)).bool(), mask.bool()], dim=1)
    cache = None if after is None else after.rows(len(before))
    if rows is None:
        embeds = torch.cat([before, spoken], dim=1)
        states, _ = _read(llm, embeds, mask, cache, answer_ids.shape[1])
    else:
        states, cache = _read(llm, before, mask, cache, 1, keep=True)
        states = states[rows]
        if spoken.shape[1]:
            cache.batch_select_indices(rows)
            own = None if mask is None else mask[rows]
            later, _ = _read(llm, spoken, own, cache, spoken.shape[1])
            states = torch.cat([states, later], dim=1)
    logits = states[answer_mask]  # (tokens, ...)
    logits = (llm.get_output_embeddings()(logits) if _plain_head(llm) else logits).float()
    if logit_bias is not None:
        of = answer_mask.nonzero()[:, 0]
        logits = logits + logit_bias[of if rows is None else rows[of]]
    loss = F.cross_entropy(logits, answer_ids[answer_mask], reduction="none")
    return loss.new_zeros(answer_ids.shape).masked_scatter(answer_mask, loss)


def _read(
    llm: Any, embeds: Tensor, mask: Tensor | None, cache: Any, last: int, *, keep: bool = False
) -> tuple[Tensor, Any]:
    """Compute states (B, last, d) of the last positions, or their logits, and the cache.

    `mask` may be shorter than the sequence: missing entries at its end are true.
    """
    arguments: dict[str, Any] = {"inputs_embeds": embeds, "use_cache": keep or cache is not None}
    if cache is not None:
        arguments["past_key_values"] = cache
    if mask is not None:
        held = 0 if cache is None else cache.get_seq_length()
        fresh = held + embeds.shape[1] - mask.shape[1]
        mask = torch.cat([mask.long(), mask.new_ones(len(mask), fresh).long()], dim=1)
        arguments["attention_mask"] = mask
        arguments["position_ids"] = (mask.cumsum(1) - 1).clamp_min(0)[:, -embeds.shape[1] :]
    if _plain_head(llm):
        found = llm.base_model(**arguments)
        return found.last_hidden_state[:, -last:], found.past_key_values
    found = llm(**arguments, logits_to_keep=last)
    return found.logits, found.past_key_values


def recompute_layers(llm: Any, on: bool) -> None:
    """Switch on activation recomputation in the backward pass for the layers of a frozen LLM.

    Layers recompute in training mode only, so the layer modules are set to training mode. Their
    submodules stay in evaluation mode, so that dropout stays off.

    Parameters
    ----------
    llm : PreTrainedModel
    on : bool
    """
    if not on:
        return
    # older versions of transformers have only the second name
    enable = getattr(llm, "activation_checkpointing_enable", None)
    (enable or llm.gradient_checkpointing_enable)({"use_reentrant": False})
    for layer in llm.modules():
        if getattr(layer, "gradient_checkpointing", False) and layer is not llm:
            layer.training = True


def recomputes(llm: Any) -> bool:
    """Return whether a layer recomputes its activations; it then keeps no keys and values."""
    layers = (m for m in llm.modules() if getattr(m, "gradient_checkpointing", False))
    return any(layer.training for layer in layers)


def _plain_head(llm: Any) -> bool:
    # Gemma soft-caps its logits, Cohere and Granite scale them: only their forward implements it
    config = llm.config
    capped = getattr(config, "final_logit_softcapping", None) is not None
    scaled = any(getattr(config, n, None) not in (None, 1, 1.0) for n in _LOGIT_SCALES)
    return not capped and not scaled and llm.base_model is not llm and untouched(llm)


_LOGIT_SCALES = ("logit_scale", "logits_scaling", "lm_head_multiplier")
