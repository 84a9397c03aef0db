"""Sequences of words and coded recordings: layout, attention mask, loss and continuation.

The layout of a recording follows NeuroLM (arXiv 2409.00101, section 2.2): all regions of one time
step, then all regions of the next. A token attends to its own step and to all earlier tokens, and
predicts the code of its own region in the next step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .._arguments import checked
from ..errors import InputError
from .code_vocabulary import CodeVocabulary

IGNORED = -100  # label without a loss, by the convention of transformers


@dataclass(frozen=True)
class MixedSequence:
    """Text and recordings in one sequence of tokens.

    Parameters
    ----------
    ids : Tensor, (T,) int64
    blocks : Tensor, (T,) int64
        Ascending block numbers; tokens of one time step share a block, any other token is a block.
    labels : Tensor, (T,) int64
        Target of each position: the next word, or the code of its own region in the next step;
        -100 without a target.
    """

    ids: Tensor
    blocks: Tensor
    labels: Tensor


@checked
def interleave(
    parts: Sequence[str | Tensor], tokenizer: Any, vocabulary: CodeVocabulary
) -> MixedSequence:
    """Concatenate texts and recordings to one sequence.

    Parameters
    ----------
    parts : sequence of str, Tensor (R, P) int64 or Tensor (N,) int64
        Texts, codes of a recording from :meth:`VQAutoencoder.codes`, and text as tokens
        (:meth:`DigitTokens.tokens`).
    tokenizer : PreTrainedTokenizer
    vocabulary : CodeVocabulary

    Returns
    -------
    MixedSequence
        The first step of a recording and the marks around it are not predicted; the end mark
        predicts the text that follows.

    Raises
    ------
    InputError
        A part is neither text nor codes, or all parts are empty.
    """
    ids: list[Tensor] = []
    blocks: list[Tensor] = []
    labels: list[Tensor] = []
    block = 0
    for part in parts:
        if isinstance(part, str):
            part = torch.tensor(tokenizer.encode(part, add_special_tokens=False)).long()
        if not isinstance(part, Tensor) or part.is_floating_point() or part.ndim not in (1, 2):
            raise InputError(
                "interleave: parts must be texts, tokens (N,) or codes (R, P), got "
                f"{(part.dtype, *part.shape) if isinstance(part, Tensor) else type(part).__name__}."
            )
        if part.ndim == 1:
            words = part.long().cpu()
            row, within, target = words, torch.arange(len(words)), words.new_full((len(words),), -1)
        elif part.numel():
            steps = vocabulary.tokens(part.long().cpu()).T  # (P, R)
            count, regions = steps.shape
            edges = steps.new_tensor([[vocabulary.begin], [vocabulary.end]])
            row = torch.cat([edges[0], steps.flatten(), edges[1]])
            inner = 1 + torch.arange(count).repeat_interleave(regions)
            within = torch.cat([inner.new_tensor([0]), inner, inner.new_tensor([count + 1])])
            target = torch.full_like(row, -1)
            target[1 : 1 + (count - 1) * regions] = steps[1:].flatten()
        else:
            raise InputError(
                f"interleave: codes (R, P) must not be empty, got {tuple(part.shape)}."
            )
        ids.append(row)
        blocks.append(block + within)
        labels.append(target)
        block += int(within[-1]) + 1 if len(within) else 0
    if not sum(map(len, ids)):
        raise InputError("interleave: parts must hold a text or a recording, got none.")
    row, target = torch.cat(ids), torch.cat(labels)
    coded = vocabulary.codes_of(row) >= 0
    word = ~coded & (row != vocabulary.begin) & (row != vocabulary.end)
    # a word is predicted by the token before it, unless that token is a code
    target[:-1] = torch.where(word[1:] & ~coded[:-1], row[1:], target[:-1])
    return MixedSequence(row, torch.cat(blocks), target.where(target >= 0, IGNORED))


def stair_step_mask(blocks: Tensor) -> Tensor:
    """Build the attention mask in which a token attends to its own and all earlier blocks.

    Parameters
    ----------
    blocks : Tensor, (T,) or (B, T) int64

    Returns
    -------
    Tensor, (1 or B, 1, T, T) bool
        True where attention is allowed: triangular for text, a staircase for time steps of
        several tokens.

    Raises
    ------
    InputError
        The blocks are not a dense real tensor of one or two axes.
    """
    if (
        not isinstance(blocks, Tensor)
        or blocks.ndim not in (1, 2)
        or blocks.layout is not torch.strided
        or blocks.is_complex()
    ):
        raise InputError(
            "stair_step_mask: blocks must be dense numbers (T,) or (B, T), got "
            f"{getattr(blocks, 'dtype', type(blocks).__name__)}."
        )
    rows = blocks if blocks.ndim == 2 else blocks[None]
    return (rows[:, :, None] >= rows[:, None, :])[:, None]


def additive(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """Convert a bool mask to the additive mask that transformers expects."""
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(
        ~mask, torch.finfo(dtype).min
    )


@checked
def mixed_nll(llm: Any, sequences: Sequence[MixedSequence]) -> tuple[Tensor, Tensor]:
    """Cross-entropy of all labelled positions of several sequences.

    Parameters
    ----------
    llm : PreTrainedModel
    sequences : sequence of MixedSequence
        Sequences of any lengths; no other token attends to their padding.

    Returns
    -------
    nll : Tensor, (N,) float32
        Nats.
    labels : Tensor, (N,) int64
        Predicted tokens; :meth:`CodeVocabulary.codes_of` distinguishes codes from words.

    Raises
    ------
    InputError
        There is no sequence, or no position has a label.
    """
    if not sequences:
        raise InputError("mixed_nll: sequences must be at least one, got none.")
    longest = max(len(s.ids) for s in sequences)
    ids, blocks, labels = [], [], []
    for s in sequences:
        behind = torch.arange(longest - len(s.ids))
        ids.append(torch.cat([s.ids, s.ids[-1].expand(len(behind))]))
        blocks.append(torch.cat([s.blocks, s.blocks[-1] + 1 + behind]))
        labels.append(torch.cat([s.labels, torch.full_like(behind, IGNORED)]))
    weight = llm.get_input_embeddings().weight
    targets = torch.stack(labels).to(weight.device)
    # the vocabulary projection is computed only at positions with a label
    columns = (targets != IGNORED).any(dim=0).nonzero()[:, 0]
    if not len(columns):
        raise InputError("mixed_nll: sequences must predict something, got no label.")
    mask = additive(stair_step_mask(torch.stack(blocks)), weight.dtype)
    found = llm(
        input_ids=torch.stack(ids).to(weight.device),
        attention_mask=mask.to(weight.device),
        use_cache=False,
        logits_to_keep=columns,
    )
    targets = targets[:, columns]
    there = targets != IGNORED
    labels_there = targets[there]
    nll = F.cross_entropy(found.logits.float()[there], labels_there, reduction="none")
    return nll, labels_there


@checked
def mixed_loss(llm: Any, sequence: MixedSequence) -> Tensor:
    """Mean cross-entropy of the words and codes of one sequence, nats."""
    return mixed_nll(llm, [sequence])[0].mean()


@checked
@torch.no_grad()
def continue_codes(
    llm: Any,
    vocabulary: CodeVocabulary,
    codes: Tensor,
    *,
    steps: int,
    temperature: float = 0.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Continue a recording by generating codes; other tokens are excluded.

    Parameters
    ----------
    llm : PreTrainedModel
    vocabulary : CodeVocabulary
    codes : Tensor, (R, P) int64
        Codes to continue, at least one step.
    steps : int
        Time steps to add; each takes one forward pass for all regions.
    temperature : float
        0 takes the likeliest code.
    generator : Generator, optional
        CPU generator for temperatures above 0.

    Returns
    -------
    Tensor, (R, P + steps) int64
        :meth:`VQAutoencoder.decode` converts it to a signal.

    Raises
    ------
    InputError
        `codes` is empty or not (R, P), or `steps` or `temperature` is negative.
    """
    if codes.ndim != 2 or not codes.numel() or steps < 0 or temperature < 0:
        raise InputError(
            "continue_codes: codes must be (R, P >= 1), steps and temperature 0 or more, got "
            f"{tuple(codes.shape)}, {steps} and {temperature}."
        )
    device = llm.get_input_embeddings().weight.device
    dtype = llm.get_input_embeddings().weight.dtype
    regions = len(codes)
    columns = [codes.long().cpu()]
    rows = vocabulary.tokens(columns[0]).T.flatten()
    feed = torch.cat([rows.new_tensor([vocabulary.begin]), rows])
    begin = torch.zeros(1, dtype=torch.int64)
    blocks = torch.cat([begin, 1 + torch.arange(codes.shape[1]).repeat_interleave(regions)])
    mask, cache = stair_step_mask(blocks), None
    for _ in range(steps):
        past = mask.shape[-1] - len(feed)
        found = llm(
            input_ids=feed[None].to(device),
            attention_mask=additive(mask, dtype).to(device),
            position_ids=torch.arange(past, past + len(feed), device=device)[None],
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=regions,
        )
        cache = found.past_key_values
        logits = found.logits[0, -regions:, vocabulary.first : vocabulary.first + vocabulary.codes]
        logits = logits.float().cpu()
        if temperature == 0:
            chosen = logits.argmax(dim=1)
        else:
            odds = (logits / temperature).softmax(dim=1)
            chosen = torch.multinomial(odds, 1, generator=generator)[:, 0]
        columns.append(chosen[:, None])
        feed = vocabulary.tokens(chosen)
        # a step attends to itself and to all earlier tokens
        mask = torch.ones(1, 1, regions, mask.shape[-1] + regions, dtype=torch.bool)
    return torch.cat(columns, dim=1)
