"""Decode brain windows to text: prefix, prompt, generation and scoring."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .._arguments import checked
from ..data import WindowLimits
from ..data.store.window_limits import window_statistics
from ..decoding.generation import generate
from ..decoding.sampling import Sampling
from ..decoding.scoring import score_matrix
from ..errors import InputError
from ..lm.end_tokens import end_tokens_of
from ..lm.tokenization import encode_answers, encode_prompts
from ..nn.modes import evaluating
from .model import LLM4Brain
from .questions import saved_prompt


@dataclass(frozen=True)
class Decoded:
    """Decoded texts of windows, with the input embeddings of the language model.

    Parameters
    ----------
    trial_ids, texts : tuple of str
        Trial ids and their free-running decoded texts; "" for a window that is held.
    embeds : Tensor, (N, S, d_llm)
        Embeddings of BOS, brain prefix and question, before the generated text.
    held : tuple of str
        Why a window is held, with the number; "" for the others. A window is held if it leaves the
        limits of the training windows (:class:`fastbrain.data.WindowLimits`).
    questions : tuple of str
        Question that each window was asked.
    mask : Tensor, (N, S) bool, or None
        False at padding of `embeds`; None if the questions need none.
    """

    trial_ids: tuple[str, ...]
    texts: tuple[str, ...]
    embeds: Tensor
    held: tuple[str, ...] = ()
    questions: tuple[str, ...] = ()
    mask: Tensor | None = None


@checked
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
        With `voxels` (B, F, n_tokens, P), `subjects`, `trial_ids` and optional `instructions`, for
        example a ``WindowLoader``.
    prompt : str, optional
        Question of all windows. Default: the instruction of each window; without one, the prompt
        the model was saved with.
    sampling : Sampling, optional

    Returns
    -------
    Decoded
        A text ends at the end token of the tokenizer, or at a special token that the generation
        settings of the language model define as an end token.

    Raises
    ------
    InputError
        There is no prompt, `batches` is empty or its items are not batches, the voxels are not the
        int16 steps of a store, or :func:`generate` rejects the language model or its inputs.
    """
    tokenizer = _tokenizer("decode_windows", model)
    with evaluating(model):
        trials, texts, held, questions = [], [], [], []
        embeds: list[Tensor] = []
        masks: list[Tensor | None] = []
        for batch in _batches("decode_windows", batches, "voxels", "subjects", "trial_ids"):
            prefix = model.prefix(batch.voxels.to(model.device), batch.subjects)
            asked = _asked("decode_windows", model, batch, prompt)
            ids, mask = _question_ids(model, asked)
            before, mask = model.before_answer(prefix, ids, prompt_mask=mask)
            said = generate(
                model.llm,
                before,
                eos_token_id=end_tokens_of(tokenizer, model.llm),
                pad_token_id=tokenizer.pad_token_id,
                sampling=sampling,
                attention_mask=mask,
            )
            faults = _faults(model, batch.voxels)
            trials += batch.trial_ids
            texts += [
                "" if f else text for f, text in zip(faults, said.texts(tokenizer), strict=True)
            ]
            held += faults
            questions += asked
            embeds.append(before)
            masks.append(mask)
    if not embeds:
        raise InputError("decode_windows: batches must not be empty. Is the part empty?")
    whole, mask = _joined(embeds, masks)
    return Decoded(tuple(trials), tuple(texts), whole, tuple(held), tuple(questions), mask)


@checked
def score_texts(model: LLM4Brain, decoded: Decoded, texts: Sequence[str]) -> Tensor:
    """Score every text after every window and its question: teacher-forced mean NLL, (N, M).

    Parameters
    ----------
    model : LLM4Brain
    decoded : Decoded
        From :func:`decode_windows`, N windows.
    texts : sequence of str
        M candidates; duplicates are scored once.

    Raises
    ------
    InputError
        There is no text, one is empty or does not fit the context, or the language model has no
        key-value cache.
    """
    if not texts:
        raise InputError("score_texts: texts must be at least one, got none.")
    unique = sorted(set(texts))
    ids, mask = encode_answers(model.text_tokenizer, unique, device=model.device)
    scores = score_matrix(model.llm, decoded.embeds, ids, mask, prefix_mask=decoded.mask)
    return scores[:, [unique.index(text) for text in texts]]


@checked
def token_saliency(
    model: LLM4Brain, batches: Iterable[Any], *, prompt: str | None = None
) -> Tensor:
    """Compute the saliency of brain tokens for the true text: mean absolute gradient · token.

    Parameters
    ----------
    model : LLM4Brain
    batches : iterable of Batch
        With `voxels`, `subjects`, `texts` and optional `instructions`.
    prompt : str, optional
        As in :func:`decode_windows`.

    Returns
    -------
    Tensor, (model.grid.n_tokens,) float32
        Each patch has the value of its token, or the mean over several tokens.

    Raises
    ------
    InputError
        There is no prompt, or `batches` is empty or its items are not batches.
    """
    _tokenizer("token_saliency", model)
    with evaluating(model):
        total, count = torch.zeros(model.tokenizer.n_tokens), 0
        for batch in _batches("token_saliency", batches, "voxels", "subjects", "texts"):
            tokens = model.tokens(batch.voxels.to(model.device), batch.subjects)
            tokens = tokens.detach().requires_grad_(True)
            prefix = model.projection(model.latents_of(tokens))
            ids, mask = encode_answers(model.text_tokenizer, batch.texts, device=model.device)
            asked, known = _question_ids(model, _asked("token_saliency", model, batch, prompt))
            loss = model.sequence_nll(prefix, asked, ids, mask, prompt_mask=known).sum()
            (gradient,) = torch.autograd.grad(loss, tokens)
            share = (gradient * tokens).sum(dim=-1).abs().sum(dim=0).detach().cpu()
            total += share.unflatten(0, (-1, len(total))).sum(dim=0)  # over the steps of a window
            count += len(tokens)
    if not count:
        raise InputError("token_saliency: batches must not be empty. Is the part empty?")
    return model.tokenizer.spread(total / count)


def _faults(model: LLM4Brain, voxels: Tensor) -> list[str]:
    """Compare windows with the limits that the model was saved with, if it has a card."""
    saved = getattr(model.card, "preprocessing", {}).get("limits")
    if saved is None:
        return [""] * len(voxels)
    limits = WindowLimits.from_json(saved)
    rows = window_statistics(
        voxels.cpu().numpy(),
        mean=model.tokenizer.mean.cpu().numpy(),
        inv_std=model.tokenizer.inv_std.cpu().numpy(),
        scale=model.tokenizer.scale,
    )
    return [limits.fault(row) for row in rows]


def _tokenizer(function: str, model: LLM4Brain) -> Any:
    if model.text_tokenizer is None:
        raise InputError(f"{function}: model must have a tokenizer, got one without it.")
    return model.text_tokenizer


def _asked(function: str, model: LLM4Brain, batch: Any, prompt: str | None) -> list[str]:
    """Return the question of each window of a batch."""
    spare = saved_prompt(model) if prompt is None else prompt
    own = getattr(batch, "instructions", ()) if prompt is None else ()
    asked = [question or spare for question in own or [""] * len(batch.voxels)]
    if not all(asked):
        raise InputError(f"{function}: prompt must be given for a model without a card.")
    return asked


def _question_ids(model: LLM4Brain, asked: list[str]) -> tuple[Tensor, Tensor | None]:
    """Return ids (P,) of one question for all, or ids (B, P) and mask of one a window."""
    same = len(set(asked)) == 1
    questions = asked[:1] if same else asked
    ids, mask = encode_prompts(model.text_tokenizer, questions, device=model.device)
    return (ids[0], None) if same else (ids, mask)


def _joined(embeds: list[Tensor], masks: list[Tensor | None]) -> tuple[Tensor, Tensor | None]:
    """Join batches of embeddings, padded on the left where their lengths differ."""
    width = max(part.shape[1] for part in embeds)
    if all(mask is None for mask in masks) and all(part.shape[1] == width for part in embeds):
        return torch.cat(embeds), None
    known = [
        part.new_ones(part.shape[:2], dtype=torch.bool) if mask is None else mask
        for part, mask in zip(embeds, masks, strict=True)
    ]
    add = [width - part.shape[1] for part in embeds]
    whole = [F.pad(part, (0, 0, n, 0)) for part, n in zip(embeds, add, strict=True)]
    return torch.cat(whole), torch.cat(
        [F.pad(mask, (n, 0), value=False) for mask, n in zip(known, add, strict=True)]
    )


def _batches(function: str, batches: Iterable[Any], *fields: str) -> Iterator[Any]:
    for batch in batches:
        missing = [name for name in fields if not hasattr(batch, name)]
        if missing:
            raise InputError(
                f"{function}: batches must have {', '.join(fields)}, got {type(batch).__name__} "
                f"without {', '.join(missing)}. A WindowLoader makes them."
            )
        yield batch
