"""From brain windows to text: the prefix, the prompt, and what the language model says next."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError
from ..models import LLM4Brain, encode_answers, encode_prompts
from .batch import score_matrix
from .engine import generate
from .sampling import Sampling


@dataclass(frozen=True)
class Decoded:
    """Windows as the language model sees them, and what it says.

    Parameters
    ----------
    trial_ids, texts : tuple of str
        Decoded text of each trial, free-running.
    embeds : Tensor, (N, S, d_llm)
        BOS, brain tokens and prompt: what text is generated after.
    """

    trial_ids: tuple[str, ...]
    texts: tuple[str, ...]
    embeds: Tensor


@torch.no_grad()
def decode_windows(
    model: LLM4Brain,
    batches: Iterable[Any],
    *,
    prompt: str | None = None,
    sampling: Sampling | None = None,
) -> Decoded:
    """Decode batches of brain windows.

    Parameters
    ----------
    model : LLM4Brain
    batches : iterable of Batch
        With `voxels` (B, F, n_tokens, P), `subjects` and `trial_ids`; a ``WindowLoader`` is one.
    prompt : str, optional
        Default: the prompt the model was saved with.
    sampling : Sampling, optional

    Returns
    -------
    Decoded
    """
    prompt = prompt if prompt is not None else getattr(model.card, "prompt", "")
    if not prompt:
        raise InputError("decode_windows: prompt must be given for a model without a card.")
    tokenizer = model.text_tokenizer
    prompt_ids = encode_prompts(tokenizer, [prompt], device=model.device)[0][0]
    was_training = model.training
    model.eval()
    trials, texts, embeds = [], [], []
    for batch in batches:
        prefix = model.prefix(batch.voxels.to(model.device), batch.subjects)
        before, _ = model.before_answer(prefix, prompt_ids)
        said = generate(
            model.llm,
            before,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            sampling=sampling,
        )
        trials += batch.trial_ids
        texts += said.texts(tokenizer)
        embeds.append(before)
    model.train(was_training)
    if not embeds:
        raise InputError("decode_windows: batches must not be empty. Is the part empty?")
    return Decoded(tuple(trials), tuple(texts), torch.cat(embeds))


def score_texts(model: LLM4Brain, decoded: Decoded, texts: list[str]) -> Tensor:
    """Teacher-forced mean negative log likelihood of every text after every window, (N, M).

    Parameters
    ----------
    model : LLM4Brain
    decoded : Decoded
        From :func:`decode_windows`, N windows.
    texts : list of str
        M candidates; equal ones are scored once.
    """
    unique = sorted(set(texts))
    ids, mask = encode_answers(model.text_tokenizer, unique, device=model.device)
    scores = score_matrix(model.llm, decoded.embeds, ids, mask)
    return scores[:, [unique.index(text) for text in texts]]


def token_saliency(
    model: LLM4Brain, batches: Iterable[Any], *, prompt: str | None = None
) -> Tensor:
    """How much each brain token matters for the true text: mean absolute gradient times token.

    Parameters
    ----------
    model : LLM4Brain
    batches : iterable of Batch
        With `voxels`, `subjects` and `texts`.
    prompt : str, optional
        Default: the prompt the model was saved with.

    Returns
    -------
    Tensor, (model.grid.n_tokens,) float32
        A patch has what the token that it is part of has.
    """
    prompt = prompt if prompt is not None else getattr(model.card, "prompt", "")
    prompt_ids = encode_prompts(model.text_tokenizer, [prompt], device=model.device)[0][0]
    was_training = model.training
    model.eval()
    total, count = torch.zeros(model.tokenizer.n_tokens), 0
    for batch in batches:
        tokens = model.tokens(batch.voxels.to(model.device), batch.subjects)
        tokens = tokens.detach().requires_grad_(True)
        prefix = model.projection(model.latents_of(tokens))
        ids, mask = encode_answers(model.text_tokenizer, batch.texts, device=model.device)
        loss = model.sequence_nll(prefix, prompt_ids, ids, mask).sum()
        (gradient,) = torch.autograd.grad(loss, tokens)
        share = (gradient * tokens).sum(dim=-1).abs().sum(dim=0).detach().cpu()
        total += share.unflatten(0, (-1, len(total))).sum(dim=0)  # over the steps of a window
        count += len(tokens)
    model.train(was_training)
    return model.tokenizer.spread(total / max(count, 1))
