"""How likely a text is, given a brain: every prefix against every text, prefixes read once."""

from __future__ import annotations

import copy
from typing import Any

import torch

from ..errors import InputError


@torch.no_grad()
def score_matrix(
    llm: Any,
    prefixes: torch.Tensor,
    texts: torch.Tensor,
    mask: torch.Tensor,
    *,
    rows_at_once: int = 256,
) -> torch.Tensor:
    """Teacher-forced negative log likelihood of every text after every prefix.

    The keys and values of a prefix are computed once and shared by all texts, so the cost is
    that of the texts alone.

    Parameters
    ----------
    llm : PreTrainedModel
        Any ``AutoModelForCausalLM``.
    prefixes : Tensor, (N, S, d)
        What comes before the text: brain tokens and prompt.
    texts : Tensor, (M, T) int64
        Candidate texts, padded on the right, each with its end token.
    mask : Tensor, (M, T) bool
        False at padding.
    rows_at_once : int
        Bound on the rows of one forward pass.

    Returns
    -------
    Tensor, (N, M) float32
        Mean negative log likelihood a token, nats. Teacher-forced: not a generation score.

    Raises
    ------
    InputError
        Shapes disagree or a text is empty.
    """
    if prefixes.ndim != 3 or texts.ndim != 2 or texts.shape != mask.shape:
        raise InputError(
            "score_matrix: prefixes must be (N, S, d) and texts, mask (M, T), got "
            f"{tuple(prefixes.shape)}, {tuple(texts.shape)}, {tuple(mask.shape)}."
        )
    if not bool(mask.any(dim=1).all()):
        raise InputError("score_matrix: every text must have at least one token, got an empty one.")
    n, m = len(prefixes), len(texts)
    result = torch.empty(n, m, device=prefixes.device)
    chunk = max(1, min(n, rows_at_once))
    texts_at_once = max(1, rows_at_once // chunk)
    for start in range(0, n, chunk):
        prefix = prefixes[start : start + chunk]
        first = llm(inputs_embeds=prefix, use_cache=True, logits_to_keep=1)
        for begin in range(0, m, texts_at_once):
            part = slice(begin, begin + texts_at_once)
            result[start : start + chunk, part] = _score(
                llm, first, prefix, texts[part], mask[part]
            )
    return result


def _score(
    llm: Any, first: Any, prefix: torch.Tensor, texts: torch.Tensor, mask: torch.Tensor
) -> torch.Tensor:
    n, m = len(prefix), len(texts)
    cache = copy.deepcopy(first.past_key_values)
    cache.batch_repeat_interleave(m)
    ids, valid = texts.repeat(n, 1), mask.repeat(n, 1)  # (n·m, T), texts run fastest
    logits = first.logits[:, -1:].repeat_interleave(m, dim=0)  # (n·m, 1, V)
    if ids.shape[1] > 1:
        # the last token is never fed: nothing is predicted after it
        later = llm(input_ids=ids[:, :-1], past_key_values=cache, use_cache=True).logits
        logits = torch.cat([logits, later], dim=1)
    nll = torch.nn.functional.cross_entropy(
        logits.float().flatten(0, 1), ids.flatten(), reduction="none"
    ).reshape(ids.shape)
    return ((nll * valid).sum(1) / valid.sum(1)).reshape(n, m)
