"""Checks of the inputs of the decode engine, before any work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ...errors import InputError
from .. import _checks
from .._checks import LanguageModel


def rows_of(
    function: str, inputs: Any, mask: Any, known: LanguageModel, least: int
) -> list[Tensor]:
    """Check embeddings (B, S, d), or a list of (S_i, d), and return each row without its padding.

    Raises
    ------
    InputError
        A shape, type, device or value is wrong, or a row has fewer than `least` positions.
    """
    if isinstance(inputs, Tensor):
        whole = _checks.embeddings(function, "inputs", inputs, known, least=0)
        rows = list(whole)
        if mask is not None:
            rows = _unpadded(function, whole, mask)
    elif mask is not None:
        raise InputError(
            f"{function}: attention_mask must be None for a list of inputs, got one. Leave the "
            "padding out of the list."
        )
    elif isinstance(inputs, (list, tuple)):
        rows = []
        for one in inputs:
            if not isinstance(one, Tensor) or one.ndim != 2:
                raise InputError(
                    f"{function}: inputs must be a Tensor (B, S, {known.embedding.shape[1]}) or a "
                    f"list of (S, {known.embedding.shape[1]}), got {_checks.described(one)}."
                )
            rows += list(_checks.embeddings(function, "inputs", one[None], known, least=0))
    else:
        raise InputError(
            f"{function}: inputs must be a Tensor or a list of Tensors, got "
            f"{type(inputs).__name__}. DecodeEngine.embed makes one of a text."
        )
    short = [i for i, row in enumerate(rows) if len(row) < least]
    if short:
        raise InputError(
            f"{function}: inputs must have {least} or more positions in every row, got none in row "
            f"{short[0]}. Only after a prefix may a row be empty."
        )
    return rows


def _unpadded(function: str, whole: Tensor, mask: Any) -> list[Tensor]:
    kinds = (torch.bool, torch.int64, torch.int32)
    if not _checks.is_dense(mask, *kinds) or mask.shape != whole.shape[:2]:
        raise InputError(
            f"{function}: attention_mask must be int64 or bool {tuple(whole.shape[:2])}, got "
            f"{_checks.described(mask)}."
        )
    if bool(((mask != 0) & (mask != 1)).any()):
        raise InputError(f"{function}: attention_mask must be 0 or 1, got other values.")
    # positions count only what is not padded, so that leaving it out changes nothing
    return [row[keep] for row, keep in zip(whole, mask.bool().to(whole.device), strict=True)]


def seeds_of(function: str, seeds: Sequence[int] | None, rows: int, spare: int) -> list[int]:
    """Check a seed for each row; None is the same one for all."""
    if seeds is None:
        return [spare] * rows
    listed = [int(one) for one in seeds]
    if len(listed) != rows or any(not 0 <= one < 1 << 63 for one in listed):
        raise InputError(
            f"{function}: seeds must be {rows} integers of 0 or more, got {len(listed)}."
        )
    return listed


def check_room(function: str, room: int, before: int, new: int) -> None:
    """Raise InputError if a row does not fit the cache.

    Raises
    ------
    InputError
    """
    if before + new > room:
        raise InputError(
            f"{function}: prefix, inputs and new tokens must fit the cache of {room} positions, "
            f"got {before} + {new}. Make the engine with a larger max_tokens."
        )
