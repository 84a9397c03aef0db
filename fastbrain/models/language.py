"""What a frozen LLM says about an answer after a prefix of brain tokens.

Works with any causal LM that takes `inputs_embeds`. The vocabulary projection, the widest matrix
of the step, runs at the positions that carry loss and nowhere else.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import InputError


def layout(
    llm: Any,
    prefix: Tensor,
    prompt_ids: Tensor,
    *,
    prompt_mask: Tensor | None = None,
    bos_token_id: int | None = None,
    prompt_first: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Put [BOS | prefix | prompt] (or [BOS | prompt | prefix]) together as embeddings.

    Parameters
    ----------
    llm : PreTrainedModel
    prefix : Tensor, (B, L, d_llm)
    prompt_ids : Tensor, (P,) or (B, P) int64
        One prompt for all, or one each.
    prompt_mask : Tensor, (B, P) bool, optional
        False on padding.
    bos_token_id : int, optional
    prompt_first : bool

    Returns
    -------
    embeddings : Tensor, (B, T, d_llm)
    mask : Tensor, (B, T) bool, or None
        None when nothing is padded.
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
    if bos_token_id is not None:
        parts.insert(0, embed(prompt_ids.new_full((b, 1), bos_token_id)))
        if masks is not None:
            masks.insert(0, masks[0].new_ones(b, 1))
    return torch.cat(parts, dim=1), None if masks is None else torch.cat(masks, dim=1)


def answer_nll(
    llm: Any,
    before: Tensor,
    before_mask: Tensor | None,
    answer_ids: Tensor,
    answer_mask: Tensor,
    *,
    logit_bias: Tensor | None = None,
) -> Tensor:
    """Negative log-likelihood of every answer token given all before it.

    Parameters
    ----------
    llm : PreTrainedModel
    before : Tensor, (B, T, d_llm)
        What :func:`layout` gave.
    before_mask : Tensor, (B, T) bool, or None
    answer_ids : Tensor, (B, A) int64
    answer_mask : Tensor, (B, A) bool
        True on tokens that carry loss; padding stands at the end.
    logit_bias : Tensor, (B, V), optional
        Added to the logits of every step of a row.

    Returns
    -------
    Tensor, (B, A) float32
        Nats; 0 where the mask is false.
    """
    if answer_ids.shape != answer_mask.shape or len(answer_ids) != len(before):
        raise InputError(
            f"answer_nll: answer_ids and answer_mask must be ({len(before)}, A), got "
            f"{tuple(answer_ids.shape)} and {tuple(answer_mask.shape)}."
        )
    answer_mask = answer_mask.bool()
    steps = answer_ids.shape[1]
    # the last answer token predicts nothing that is scored, so it is never fed
    spoken = llm.get_input_embeddings()(answer_ids[:, :-1])
    arguments: dict[str, Any] = {"inputs_embeds": torch.cat([before, spoken], 1)}
    if before_mask is not None:
        mask = torch.cat([before_mask, answer_mask.new_ones(len(before), steps - 1)], dim=1)
        arguments["attention_mask"] = mask.long()
        arguments["position_ids"] = (mask.long().cumsum(1) - 1).clamp_min(0)
    if _plain_head(llm):
        hidden = llm.base_model(**arguments, use_cache=False).last_hidden_state[:, -steps:]
        logits = llm.get_output_embeddings()(hidden[answer_mask])  # (tokens, V)
    else:
        logits = llm(**arguments, use_cache=False, logits_to_keep=steps).logits[answer_mask]
    logits = logits.float()
    if logit_bias is not None:
        logits = logits + logit_bias[answer_mask.nonzero()[:, 0]]
    loss = F.cross_entropy(logits, answer_ids[answer_mask], reduction="none")
    return torch.zeros(answer_ids.shape, device=loss.device).masked_scatter(answer_mask, loss)


def recompute_layers(llm: Any, on: bool) -> None:
    """Whether the layers of a frozen LLM compute their activations again in the backward pass.

    Its layers do so in training mode alone; what is inside them stays in evaluation mode, so that
    no dropout starts.

    Parameters
    ----------
    llm : PreTrainedModel
    on : bool
    """
    if not on:
        return
    # older versions of transformers know the second name only
    enable = getattr(llm, "activation_checkpointing_enable", None)
    (enable or llm.gradient_checkpointing_enable)({"use_reentrant": False})
    for layer in llm.modules():
        if getattr(layer, "gradient_checkpointing", False) and layer is not llm:
            layer.training = True


def _plain_head(llm: Any) -> bool:
    # Gemma soft-caps its logits, Cohere and Granite scale them: only their own forward knows how
    config = llm.config
    capped = getattr(config, "final_logit_softcapping", None) is not None
    scaled = any(getattr(config, n, None) not in (None, 1, 1.0) for n in _LOGIT_SCALES)
    return not capped and not scaled and llm.base_model is not llm


_LOGIT_SCALES = ("logit_scale", "logits_scaling", "lm_head_multiplier")
