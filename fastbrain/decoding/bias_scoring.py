"""Scoring for brains that only steer: the LLM processes each text once for all brains."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..errors import InputError
from ..lm.shared_prompt import SharedPrompt
from . import _checks

# sums from which products below the least float32, of every word of a vocabulary, are no part
_LEAST_TOTAL = 1e-26


@torch.no_grad()
def score_steered(
    llm: Any,
    prefix: Tensor,
    texts: Tensor,
    mask: Tensor,
    logit_bias: Tensor,
    *,
    after: SharedPrompt | None = None,
) -> Tensor:
    """Teacher-forced negative log likelihood of every text under the logit bias of every brain.

    A bias is added to the logits and thus multiplies the probabilities. Their normalisation is one
    matrix product of exp(bias) and the probabilities of the language model. Equal to
    :func:`score_pairs` with `logit_bias` and one shared prefix, at the cost of one brain.

    Parameters
    ----------
    llm : PreTrainedModel
    prefix : Tensor, (1, S, d)
        Embeddings before every text.
    texts : Tensor, (M, T) int64
        Padded on the right.
    mask : Tensor, (M, T) bool
    logit_bias : Tensor, (N, V) float32
    after : SharedPrompt, optional
        Cached prompt that precedes the prefix.

    Returns
    -------
    Tensor, (N, M) float32
        Nats, summed over the tokens of each text.

    Raises
    ------
    InputError
        Shapes disagree, a text is empty or too long for the context, a token is not in the
        vocabulary, or values are not finite.
    """
    known = _checks.language_model("score_steered", llm)
    prefix = _checks.embeddings("score_steered", "prefix", prefix, known, least=1)
    texts, mask = _checks.tokens("score_steered", "texts", texts, mask, known)
    texts, mask = texts.to(prefix.device), mask.to(prefix.device)
    if len(prefix) != 1 or not isinstance(logit_bias, Tensor) or logit_bias.ndim != 2:
        raise InputError(
            "score_steered: prefix must be (1, S, d) and logit_bias (N, V), got "
            f"{tuple(prefix.shape)} and {_checks.described(logit_bias)}."
        )
    logit_bias = _checks.bias("score_steered", logit_bias, len(logit_bias), known)
    if after is not None and not isinstance(after, SharedPrompt):
        raise InputError(
            f"score_steered: after must be a SharedPrompt or None, got {type(after).__name__}."
        )
    longest = int(mask.sum(dim=1).max()) if len(mask) else 0
    shared = 0 if after is None else len(after)
    _checks.room("score_steered", known, shared + prefix.shape[1], longest)
    highest = logit_bias.max(dim=1, keepdim=True).values
    factor = (logit_bias - highest).exp()  # (N, V)
    embed = llm.get_input_embeddings()
    result = logit_bias.new_empty(len(logit_bias), len(texts))
    for j in range(len(texts)):
        ids = texts[j][mask[j]]
        inputs = torch.cat([prefix[0], embed(ids[:-1]).to(prefix)])[None]
        cached = {"use_cache": False}
        if after is not None:
            cached = {"past_key_values": after.rows(1), "use_cache": True}
        logits = llm(inputs_embeds=inputs, **cached, logits_to_keep=len(ids)).logits[0]
        log_p = torch.log_softmax(
            _checks.predicted("score_steered", logits.float()), dim=1
        )  # (T, V)
        total = factor @ log_p.exp().T  # (N, T)
        norm = total.log() + highest
        # what a bias favours may be so improbable that all products underflow
        for brain in (total < _LEAST_TOTAL).any(dim=1).nonzero()[:, 0]:
            norm[brain] = torch.logsumexp(logit_bias[brain] + log_p, dim=1)
        own = log_p.gather(1, ids[:, None])[:, 0] + logit_bias[:, ids]
        result[:, j] = (norm - own).sum(dim=1)
    return result
