"""Likelihood of texts given brain prefixes, for selected pairs; each prefix is computed once."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError
from ..lm.attention_window import check_after, padded_left
from ..lm.shared_prompt import SharedPrompt
from . import _checks


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
    """Teacher-forced negative log likelihood, token by token, of selected (prefix, text) pairs.

    The keys and values of a prefix are computed once and shared by all texts that follow it, so
    that each further pair costs only its text.

    Parameters
    ----------
    llm : PreTrainedModel
        A decoder-only ``AutoModelForCausalLM`` with a key-value cache, as in :func:`generate`.
    prefixes : Tensor, (N, S, d) float
        Input before the text: brain tokens and prompt; cast to the precision of the language
        model.
    texts : Tensor, (M, T) int64
        Candidate texts, padded on the right, each with its end token.
    mask : Tensor, (M, T) bool
        False at padding.
    pairs : Tensor, (K, 2) int64
        Indices of prefix and text of every pair, in any order.
    prefix_mask : Tensor, (N, S) bool, optional
        False at padding within a prefix. Default: nothing is padded.
    logit_bias : Tensor, (N, V), optional
        Added to the logits of every step after a prefix.
    after : SharedPrompt, optional
        Cached prompt that precedes all prefixes.
    rows_at_once : int
        Maximum number of rows in one forward pass.

    Returns
    -------
    Tensor, (K, T) float32
        Nats; 0 at padding. Teacher-forced: not a generation score.

    Raises
    ------
    InputError
        The model has no key-value cache, shapes disagree, a text is empty or too long for the
        context, a token is not in the vocabulary, values are not finite, or an index of a pair is
        out of range; or padding follows `after` and the sequence exceeds a sliding window of the
        model. Also raised if the model predicts logits that are not finite.
    """
    known = _checks.language_model("score_pairs", llm)
    prefixes = _checks.embeddings("score_pairs", "prefixes", prefixes, known)
    texts, mask = _checks.tokens("score_pairs", "texts", texts, mask, known)
    texts, mask = texts.to(prefixes.device), mask.to(prefixes.device)
    _check_pairs(pairs, len(prefixes), len(texts))
    if logit_bias is not None:
        logit_bias = _checks.bias("score_pairs", logit_bias, len(prefixes), known)
    if prefix_mask is not None and (
        not _checks.is_dense(prefix_mask, torch.bool, torch.int64)
        or prefix_mask.shape != prefixes.shape[:2]
    ):
        raise InputError(
            f"score_pairs: prefix_mask must be bool {tuple(prefixes.shape[:2])} (prefixes have "
            f"{len(prefixes)} rows), got {_checks.described(prefix_mask)}."
        )
    if after is not None and not isinstance(after, SharedPrompt):
        raise InputError(
            f"score_pairs: after must be a SharedPrompt or None, got {type(after).__name__}."
        )
    if type(rows_at_once) is not int or not 1 <= rows_at_once < 1 << 31:
        raise InputError(
            f"score_pairs: rows_at_once must be an integer of 1 or more, got {rows_at_once!r}."
        )
    shared = 0 if after is None else len(after)
    longest_text = int(mask.sum(dim=1).max()) if len(mask) else 0
    _checks.room("score_pairs", known, shared + prefixes.shape[1], longest_text)
    if prefix_mask is not None and after is not None:
        check_after("score_pairs", llm, prefix_mask, shared + prefixes.shape[1] + longest_text)
    elif prefix_mask is not None:
        prefixes, prefix_mask = padded_left(llm, prefixes, prefix_mask)
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
        # sorting by length puts similar lengths in one batch, which reduces padding
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


def _check_pairs(pairs: Any, prefixes: int, texts: int) -> None:
    if not _checks.is_dense(pairs, torch.int64) or pairs.ndim != 2 or pairs.shape[1] != 2:
        raise InputError(
            f"score_pairs: pairs must be (K, 2) int64, got {_checks.described(pairs)}."
        )
    ends = pairs.new_tensor([prefixes, texts])
    if bool(((pairs < 0) | (pairs >= ends)).any()):
        raise InputError(
            f"score_pairs: pairs must name one of {prefixes} prefixes and {texts} texts, "
            f"got up to {pairs.amax(0).tolist()}."
        )


def _masked(before: Tensor | None, fresh: int, *, fed: bool = False) -> dict[str, Tensor]:
    """Attention mask and positions for `fresh` tokens; `before` covers them already if `fed`."""
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
        # the last token is not an input, because no token is predicted after it
        masked = _masked(None if before is None else before[rows], ids.shape[1] - 1)
        later = llm(input_ids=ids[:, :-1], **masked, past_key_values=cache, use_cache=True).logits
        logits = torch.cat([logits, later], dim=1)
    logits = logits.float() if bias is None else logits.float() + bias[:, None]
    _checks.predicted("score_pairs", logits.amax(dim=-1, keepdim=True)[mask])
    nll = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids.flatten(), reduction="none")
    # set padding to zero; a product with the mask would keep infinities as NaN
    return nll.reshape(ids.shape).masked_fill(~mask, 0.0)


def score_matrix(
    llm: Any,
    prefixes: Tensor,
    texts: Tensor,
    mask: Tensor,
    *,
    prefix_mask: Tensor | None = None,
    rows_at_once: int = 256,
) -> Tensor:
    """Teacher-forced mean negative log likelihood of every text given every prefix.

    Parameters
    ----------
    llm, prefixes, texts, mask, prefix_mask, rows_at_once
        As in :func:`score_pairs`.

    Returns
    -------
    Tensor, (N, M) float32
        Nats per token.

    Raises
    ------
    InputError
        Shapes disagree or a text is empty.
    """
    for name, value in (("prefixes", prefixes), ("texts", texts)):
        if not isinstance(value, Tensor) or value.ndim < 1 or value.layout is not torch.strided:
            raise InputError(
                f"score_matrix: {name} must be a dense tensor with rows, got "
                f"{_checks.described(value)}."
            )
    n, m = len(prefixes), len(texts)
    pairs = torch.cartesian_prod(torch.arange(n), torch.arange(m)).reshape(-1, 2)
    nll = score_pairs(
        llm, prefixes, texts, mask, pairs, prefix_mask=prefix_mask, rows_at_once=rows_at_once
    )
    return mean_nll(nll, mask[pairs[:, 1].to(mask.device)]).reshape(n, m)


def mean_nll(nll: Tensor, mask: Tensor) -> Tensor:
    """Average each row over the tokens where the mask is true.

    Parameters
    ----------
    nll : Tensor, (K, T) float
    mask : Tensor, (K, T) bool

    Returns
    -------
    Tensor, (K,)

    Raises
    ------
    InputError
        Shapes or types disagree, or a row has no token.
    """
    floats = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
    if (
        not _checks.is_dense(nll, *floats)
        or not _checks.is_dense(mask, torch.bool)
        or nll.ndim != 2
        or nll.shape != mask.shape
    ):
        raise InputError(
            f"mean_nll: nll and mask must be (K, T) float and bool, got {_checks.described(nll)} "
            f"and {_checks.described(mask)}."
        )
    if not bool(mask.any(dim=1).all()):
        raise InputError("mean_nll: mask must leave a token in every row, got a row with none.")
    return (nll * mask).sum(dim=1) / mask.sum(dim=1)
