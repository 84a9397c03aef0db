"""Tokenize prompts and answers for the losses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .._arguments import checked
from ..errors import InputError
from .prompt_layout import wants_space

MOST_ANSWER_TOKENS = 64


@checked
def encode_prompts(
    tokenizer: Any, prompts: Sequence[str], *, device: torch.device | str = "cpu"
) -> tuple[Tensor, Tensor]:
    """Tokenize prompts with left padding, so that every prompt ends where the answer begins.

    Parameters
    ----------
    tokenizer : PreTrainedTokenizer
    prompts : sequence of str
    device : torch.device or str

    Returns
    -------
    ids : Tensor, (B, P) int64
    mask : Tensor, (B, P) bool
    """
    ids = [tokenizer.encode(p, add_special_tokens=False) for p in prompts]
    return _pad(ids, tokenizer, device, left=True)


@checked(least={"max_tokens": 1})
def encode_answers(
    tokenizer: Any,
    answers: Sequence[str],
    *,
    max_tokens: int = MOST_ANSWER_TOKENS,
    device: torch.device | str = "cpu",
) -> tuple[Tensor, Tensor]:
    """Tokenize answers, each followed by EOS, with right padding.

    Parameters
    ----------
    tokenizer : PreTrainedTokenizer
    answers : sequence of str
    max_tokens : int
        Longer answers are truncated and then have no EOS.
    device : torch.device or str

    Returns
    -------
    ids : Tensor, (B, A) int64
    mask : Tensor, (B, A) bool

    Raises
    ------
    InputError
        An answer is empty.
    """
    space = " " if wants_space(tokenizer) else ""
    rows = []
    for answer in answers:
        words = " ".join(answer.split())
        if not words:
            raise InputError("encode_answers: answers must hold words, got an empty text.")
        ids = tokenizer.encode(space + words, add_special_tokens=False)
        rows.append([*ids, tokenizer.eos_token_id][:max_tokens])
    return _pad(rows, tokenizer, device, left=False)


@checked
def encode_context(
    tokenizer: Any,
    prompts: Sequence[str | Sequence[int]],
    *,
    max_tokens: int,
    keep: str = "newest",
    device: torch.device | str = "cpu",
) -> tuple[Tensor, Tensor]:
    """Tokenize the preceding text with left padding, so that it ends where the text begins.

    Parameters
    ----------
    tokenizer : PreTrainedTokenizer
    prompts : sequence of str or sequence of int
        Texts, which may be empty and keep their whitespace, or the tokens of each prompt.
    max_tokens : int
        Longer texts are cut; prompts given as tokens never are.
    keep : {"newest", "oldest"}
        Which end of a longer prompt is kept; the text continues the newest words.
    device : torch.device or str

    Returns
    -------
    ids : Tensor, (B, P) int64
    mask : Tensor, (B, P) bool

    Raises
    ------
    InputError
        An option is out of range, or a token is not in the vocabulary.
    """
    if keep not in ("newest", "oldest") or max_tokens < 0:
        raise InputError(
            "encode_context: keep must be 'newest' or 'oldest' and max_tokens 0 or more, got "
            f"{keep!r} and {max_tokens}."
        )
    rows = []
    for prompt in prompts:
        if not isinstance(prompt, str):
            rows.append(_whole_ids(prompt, tokenizer))
            continue
        ids = tokenizer.encode(prompt, add_special_tokens=False)
        start = max(0, len(ids) - max_tokens) if keep == "newest" else 0
        rows.append(ids[start : start + max_tokens])
    return _pad(rows, tokenizer, device, left=True)


@checked
def encode_continuations(
    tokenizer: Any,
    texts: Sequence[str],
    *,
    max_tokens: int,
    end: bool = True,
    spaces: Sequence[str] | None = None,
    device: torch.device | str = "cpu",
) -> tuple[Tensor, Tensor]:
    """Tokenize the texts to decode with right padding; a text that is too long raises an error.

    Parameters
    ----------
    tokenizer : PreTrainedTokenizer
    texts : sequence of str
    max_tokens : int
        Maximum length, the end token included.
    end : bool
        Whether an end token is appended: true for whole sentences, false for stretches of a story.
    spaces : sequence of str, (B,), optional
        What precedes the first word of each text, from :meth:`PromptLayout.spaces`. Default: the
        space within a sentence.
    device : torch.device or str

    Returns
    -------
    ids : Tensor, (B, A) int64
    mask : Tensor, (B, A) bool

    Raises
    ------
    InputError
        A text is empty or longer than `max_tokens`, or `spaces` has another length.
    """
    if spaces is None:
        spaces = [" " if wants_space(tokenizer) else ""] * len(texts)
    if len(spaces) != len(texts):
        raise InputError(
            f"encode_continuations: spaces must be one a text, {len(texts)}, got {len(spaces)}."
        )
    rows = []
    for text, space in zip(texts, spaces, strict=True):
        words = " ".join(text.split())
        ids = tokenizer.encode(space + words, add_special_tokens=False) if words else []
        ids = [*ids, tokenizer.eos_token_id] if end and words else ids
        if not 1 <= len(ids) <= max_tokens:
            raise InputError(
                f"encode_continuations: texts must have 1 to {max_tokens} tokens, got {len(ids)} "
                f"in {words[:60]!r}. Raise max_tokens, or cut the text where it is made."
            )
        rows.append(ids)
    return _pad(rows, tokenizer, device, left=False)


def word_ids(tokenizer: Any, words: Sequence[str]) -> list[list[int]]:
    """Tokenize each word in the form it has inside a sentence.

    Raises
    ------
    InputError
        A word has no token.
    """
    space = " " if wants_space(tokenizer) else ""
    rows = [list(tokenizer.encode(space + w, add_special_tokens=False)) for w in words]
    empty = [w for w, row in zip(words, rows, strict=True) if not row]
    if empty:
        raise InputError(f"word_ids: words must have a token, got {empty[0]!r} without any.")
    return rows


def _whole_ids(prompt: Sequence[int], tokenizer: Any) -> list[int]:
    ids, words = [int(token) for token in prompt], len(tokenizer)
    if any(not 0 <= token < words for token in ids):
        raise InputError(
            f"encode_context: tokens of a prompt must be in [0, {words}), got {min(ids)} to "
            f"{max(ids)}. Use the tokenizer of this language model."
        )
    return ids


def _pad(
    rows: list[list[int]], tokenizer: Any, device: torch.device | str, *, left: bool
) -> tuple[Tensor, Tensor]:
    if not rows:
        raise InputError("tokenize: texts must be at least one, got none.")
    width = max(len(row) for row in rows)
    ids = torch.full((len(rows), width), int(tokenizer.pad_token_id), dtype=torch.int64)
    mask = torch.zeros(len(rows), width, dtype=torch.bool)
    for i, row in enumerate(rows):
        where = slice(width - len(row), width) if left else slice(0, len(row))
        ids[i, where] = torch.tensor(row, dtype=torch.int64)
        mask[i, where] = True
    return ids.to(device), mask.to(device)
