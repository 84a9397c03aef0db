"""Prompts of lines as the rows of one batch, and checks of them before a language model reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ...errors import InputError
from ...lm.attention_window import exceeds_window
from ...lm.shared_prompt import SharedPrompt
from .. import _checks
from ..sampling import Sampling


def check_prompts(
    function: str, llm: Any, prompts: Sequence[Sequence[int]], more: Sequence[int]
) -> None:
    """Check a language model as it is now, prompts for it, and their room for further tokens.

    Parameters
    ----------
    function : str
    llm : PreTrainedModel
    prompts : sequence of sequence of int, (S,)
    more : sequence of int, (S,)
        Numbers of tokens that follow the prompts.

    Raises
    ------
    InputError
    """
    known = _checks.language_model(function, llm)
    if not len(prompts) or not all(map(len, prompts)):
        raise InputError(
            f"{function}: prompts must be one or more, each of one token or more, got "
            f"{'an empty one' if len(prompts) else 'none'}. Make them with LineWriter.prompt."
        )
    size = len(known.embedding)
    for token in (token for prompt in prompts for token in prompt):
        if not 0 <= token < size:
            raise InputError(
                f"{function}: prompts must be tokens in [0, {size}), got {token}. Use the "
                "tokenizer of this language model."
            )
    longest = max(len(prompt) + number for prompt, number in zip(prompts, more, strict=True))
    if known.context is not None and longest > known.context:
        raise InputError(
            f"{function}: prompt and text must be at most {known.context} tokens, the context of "
            f"the language model, got {longest}. Use shorter texts or fewer shots."
        )


def check_sampling(function: str, sampling: Sampling) -> None:
    """Raise for options of a sampler that lines are not written with.

    Raises
    ------
    InputError
    """
    if sampling.method == "beam":
        raise InputError(
            f"{function}: sampling.method must be 'greedy' or 'sample', got 'beam'. Use "
            "fastbrain.decoding.generate for a beam search."
        )
    if sampling.repetition_penalty != 1:
        raise InputError(
            f"{function}: sampling.repetition_penalty must be 1, got "
            f"{sampling.repetition_penalty}. Use fastbrain.decoding.generate for a penalty."
        )


def laid_out(
    llm: Any, prompts: Sequence[Sequence[int]], begun: Sequence[Sequence[int]], room: int
) -> tuple[Any, Tensor, Tensor]:
    """Read what prompts have in common once, and lay out the rest of each as a row.

    Parameters
    ----------
    llm : PreTrainedModel
    prompts : sequence of sequence of int, (S,)
    begun : sequence of sequence of int, (S,)
        Beginnings of lines, one after each prompt.
    room : int
        Number of tokens that will follow.

    Returns
    -------
    cache : Cache, or None where nothing is shared
    tokens : Tensor, (S, T) int64
        Those that are not in the cache, padded on the left.
    mask : Tensor, (S, P + T) int64
        0 at padding.
    """
    device = llm.get_input_embeddings().weight.device
    # one token of each prompt is left, for the shared part may not be whole
    common = min([_common(prompts), *(len(prompt) - 1 for prompt in prompts)])
    lengths = [len(p) + len(b) for p, b in zip(prompts, begun, strict=True)]
    if len(set(lengths)) > 1 and exceeds_window(llm, max(lengths) + room):
        common = 0  # what is shared would be before the padding
    cache = None
    if common:
        ids = torch.tensor(prompts[0][:common], device=device)
        cache = SharedPrompt(llm, ids).rows(len(prompts))
    rest = [[*p[common:], *b] for p, b in zip(prompts, begun, strict=True)]
    tokens, mask = _padded(rest, device)
    return cache, tokens, torch.cat([mask.new_ones(len(mask), common), mask], dim=1)


def _common(prompts: Sequence[Sequence[int]]) -> int:
    """Number of first tokens that all prompts share."""
    for number, tokens in enumerate(zip(*prompts, strict=False)):
        if len(set(tokens)) > 1:
            return number
    return min(map(len, prompts))


def _padded(rows: list[list[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Tokens (N, T) padded on the left, and their mask (N, T) int64."""
    longest = max(len(row) for row in rows)
    tokens = torch.zeros(len(rows), longest, dtype=torch.long, device=device)
    mask = torch.zeros_like(tokens)
    for i, row in enumerate(rows):
        tokens[i, longest - len(row) :] = torch.tensor(row, device=device)
        mask[i, longest - len(row) :] = 1
    return tokens, mask
