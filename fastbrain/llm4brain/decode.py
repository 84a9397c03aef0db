"""Decode brain windows to text: prefix, prompt, generation and scoring."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
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
from .model import LLM4Brain


@dataclass(frozen=True)
class Decoded:
    """Decoded texts of windows, with the input embeddings of the language model.

    Parameters
    ----------
    trial_ids, texts : tuple of str
        Trial ids and their free-running decoded texts; "" for a window that is held.
    embeds : Tensor, (N, S, d_llm)
        Embeddings of BOS, brain prefix and prompt, before the generated text.
    held : tuple of str
        Why a window is held, with the number; "" for the others. A window is held if it leaves the
        limits of the training windows (:class:`fastbrain.data.WindowLimits`).
    """

    trial_ids: tuple[str, ...]
    texts: tuple[str, ...]
    embeds: Tensor
    held: tuple[str, ...] = ()


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
        With `voxels` (B, F, n_tokens, P), `subjects` and `trial_ids`, for example a
        ``WindowLoader``.
    prompt : str, optional
        Default: the prompt the model was saved with.
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
    tokenizer, prompt_ids = _prompted("decode_windows", model, prompt)
    was_training = model.training
    model.eval()
    trials, texts, embeds, held = [], [], [], []
    for batch in _batches("decode_windows", batches, "voxels", "subjects", "trial_ids"):
        prefix = model.prefix(batch.voxels.to(model.device), batch.subjects)
        before, _ = model.before_answer(prefix, prompt_ids)
        said = generate(
            model.llm,
            before,
            eos_token_id=end_tokens_of(tokenizer, model.llm),
            pad_token_id=tokenizer.pad_token_id,
            sampling=sampling,
        )
        faults = _faults(model, batch.voxels)
        trials += batch.trial_ids
        texts += ["" if f else text for f, text in zip(faults, said.texts(tokenizer), strict=True)]
        held += faults
        embeds.append(before)
    model.train(was_training)
    if not embeds:
        raise InputError("decode_windows: batches must not be empty. Is the part empty?")
    return Decoded(tuple(trials), tuple(texts), torch.cat(embeds), tuple(held))


@checked
def score_texts(model: LLM4Brain, decoded: Decoded, texts: Sequence[str]) -> Tensor:
    """Score every text after every window: teacher-forced mean NLL, (N, M).

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
    scores = score_matrix(model.llm, decoded.embeds, ids, mask)
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
        With `voxels`, `subjects` and `texts`.
    prompt : str, optional
        Default: the prompt the model was saved with.

    Returns
    -------
    Tensor, (model.grid.n_tokens,) float32
        Each patch has the value of its token, or the mean over several tokens.

    Raises
    ------
    InputError
        There is no prompt, or `batches` is empty or its items are not batches.
    """
    _, prompt_ids = _prompted("token_saliency", model, prompt)
    was_training = model.training
    model.eval()
    total, count = torch.zeros(model.tokenizer.n_tokens), 0
    for batch in _batches("token_saliency", batches, "voxels", "subjects", "texts"):
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


def _prompted(function: str, model: LLM4Brain, prompt: str | None) -> tuple[Any, Tensor]:
    """Return the text tokenizer of a model and the ids of the prompt."""
    if model.text_tokenizer is None:
        raise InputError(f"{function}: model must have a tokenizer, got one without it.")
    prompt = prompt if prompt is not None else getattr(model.card, "prompt", "")
    if not prompt:
        raise InputError(f"{function}: prompt must be given for a model without a card.")
    ids = encode_prompts(model.text_tokenizer, [prompt], device=model.device)[0][0]
    return model.text_tokenizer, ids


def _batches(function: str, batches: Iterable[Any], *fields: str) -> Iterator[Any]:
    for batch in batches:
        missing = [name for name in fields if not hasattr(batch, name)]
        if missing:
            raise InputError(
                f"{function}: batches must have {', '.join(fields)}, got {type(batch).__name__} "
                f"without {', '.join(missing)}. A WindowLoader makes them."
            )
        yield batch
