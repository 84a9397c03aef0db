"""How likely a text is, given a brain: the pairs that are asked for, each prefix read once."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError
from ..models.sharedprompt import SharedPrompt


@torch.no_grad()
def score_pairs(
    llm: Any,
    prefixes: Tensor,
    texts: Tensor,
    mask: Tensor,
    pairs: Tensor,
    *,
    prefix_mask: Tensor | None = None,
    logit_bias: Tensor | None = None,
    after: SharedPrompt | None = None,
    rows_at_once: int = 256,
) -> Tensor:
    """Teacher-forced negative log likelihood of some texts after some prefixes, token by token.

    The keys and values of a prefix are computed once and shared by all texts that follow it, so
    the cost is that of the texts alone.

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
    pairs : Tensor, (K, 2) int64
        Prefix and text of every pair, in any order.
    prefix_mask : Tensor, (N, S) bool, optional
        False at padding within a prefix. Default: nothing is padded.
    logit_bias : Tensor, (N, V), optional
        Added to the logits of every step after a prefix.
    after : SharedPrompt, optional
        What stands before all prefixes and was read already.
    rows_at_once : int
        Bound on the rows of one forward pass.

    Returns
    -------
    Tensor, (K, T) float32
        Nats; 0 at padding. Teacher-forced: not a generation score.

    Raises
    ------
    InputError
        Shapes disagree, a text is empty, or a pair names what is not there.
    """
    _check(prefixes, texts, mask, pairs)
    for name, value in (("prefix_mask", prefix_mask), ("logit_bias", logit_bias)):
        if value is not None and len(value) != len(prefixes):
            raise InputError(
                f"score_pairs: {name} must have {len(prefixes)} rows, got {len(value)}."
            )
    result = torch.zeros(len(pairs), texts.shape[1], device=prefixes.device)
    pairs, lengths = pairs.to(prefixes.device), mask.sum(dim=1)
    used, row_of = pairs[:, 0].unique(return_inverse=True)
    for start in range(0, len(used), rows_at_once):
        chunk = used[start : start + rows_at_once]
        before = None if prefix_mask is None else prefix_mask[chunk].long()
        if before is not None and after is not None:
            before = torch.cat([after.mask(len(chunk)), before], dim=1)
        first = llm(
            inputs_embeds=prefixes[chunk],
            **_masked(before, prefixes.shape[1], fed=True),
            past_key_values=None if after is None else after.rows(len(chunk)),
            use_cache=True,
            logits_to_keep=1,
        )
        rows = ((row_of >= start) & (row_of < start + len(chunk))).nonzero()[:, 0]
        # texts of one length stand together: little is padded
        rows = rows[lengths[pairs[rows, 1]].argsort(stable=True)]
        for part in rows.split(rows_at_once):
            text = pairs[part, 1]
            longest = int(lengths[text].max())
            result[part, :longest] = _continue(
                llm,
                first,
                row_of[part] - start,
                texts[text, :longest],
                mask[text, :longest],
                before,
                None if logit_bias is None else logit_bias[pairs[part, 0]],
            )
    return result


def _check(prefixes: Tensor, texts: Tensor, mask: Tensor, pairs: Tensor) -> None:
    if prefixes.ndim != 3 or texts.ndim != 2 or texts.shape != mask.shape:
        raise InputError(
            "score_pairs: prefixes must be (N, S, d) and texts, mask (M, T), got "
            f"{tuple(prefixes.shape)}, {tuple(texts.shape)}, {tuple(mask.shape)}."
        )
    if not bool(mask.any(dim=1).all()):
        raise InputError("score_pairs: every text must have at least one token, got an empty one.")
    if pairs.ndim != 2 or pairs.shape[1] != 2:
        raise InputError(f"score_pairs: pairs must be (K, 2), got {tuple(pairs.shape)}.")
    ends = pairs.new_tensor([len(prefixes), len(texts)])
    if bool(((pairs < 0) | (pairs >= ends)).any()):
        raise InputError(
            f"score_pairs: pairs must name one of {len(prefixes)} prefixes and {len(texts)} texts, "
            f"got up to {pairs.amax(0).tolist()}."
        )


def _masked(before: Tensor | None, fresh: int, *, fed: bool = False) -> dict[str, Tensor]:
    """Mask over what was read and `fresh` tokens more (`fed`: among it), and their positions."""
    if before is None:
        return {}
    added = before.new_ones(len(before), 0 if fed else fresh)
    mask = torch.cat([before, added], dim=1)
    positions = (mask.cumsum(dim=1) - 1).clamp_min(0)
    return {"attention_mask": mask, "position_ids": positions[:, -fresh:]}


def _continue(
    llm: Any,
    first: Any,
    rows: Tensor,
    ids: Tensor,
    mask: Tensor,
    before: Tensor | None,
    bias: Tensor | None,
) -> Tensor:
    """Losses (n, T) of texts `ids` (n, T), each after one row of a prefilled batch."""
    logits = first.logits[rows, -1:]  # (n, 1, V)
    if ids.shape[1] > 1:
        cache = copy.deepcopy(first.past_key_values)
        cache.batch_select_indices(rows)
        # the last token is never fed: nothing is predicted after it
        masked = _masked(None if before is None else before[rows], ids.shape[1] - 1)
        later = llm(input_ids=ids[:, :-1], **masked, past_key_values=cache, use_cache=True).logits
        logits = torch.cat([logits, later], dim=1)
    if bias is not None:
        logits = logits.float() + bias[:, None]
    nll = torch.nn.functional.cross_entropy(
        logits.float().flatten(0, 1), ids.flatten(), reduction="none"
    )
    return nll.reshape(ids.shape) * mask


def score_matrix(
    llm: Any, prefixes: Tensor, texts: Tensor, mask: Tensor, *, rows_at_once: int = 256
) -> Tensor:
    """Teacher-forced mean negative log likelihood of every text after every prefix.

    Parameters
    ----------
    llm, prefixes, texts, mask, rows_at_once
        As in :func:`score_pairs`.

    Returns
    -------
    Tensor, (N, M) float32
        Nats a token.

    Raises
    ------
    InputError
        Shapes disagree or a text is empty.
    """
    n, m = len(prefixes), len(texts)
    pairs = torch.cartesian_prod(torch.arange(n), torch.arange(m)).reshape(-1, 2)
    nll = score_pairs(llm, prefixes, texts, mask, pairs, rows_at_once=rows_at_once)
    return mean_nll(nll, mask[pairs[:, 1].to(mask.device)]).reshape(n, m)


def mean_nll(nll: Tensor, mask: Tensor) -> Tensor:
    """Mean over the tokens of each row where `mask` (K, T) is true, (K,)."""
    return (nll * mask).sum(dim=1) / mask.sum(dim=1)
