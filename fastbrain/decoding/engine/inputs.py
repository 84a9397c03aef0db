"""Checks of the inputs of the decode engine, before any work."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...errors import InputError
from .. import _checks
from .._checks import LanguageModel
from .cache import Prefix


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


def check_prefixes(function: str, prefixes: Any, network: object) -> None:
    """Check a list of prefixes, each made by the engine of `network`, or None.

    Raises
    ------
    InputError
    """
    if not isinstance(prefixes, (list, tuple)):
        raise InputError(
            f"{function}: prefixes must be a list of Prefix or None, got {type(prefixes).__name__}."
        )
    for one in prefixes:
        if one is not None and not isinstance(one, Prefix):
            raise InputError(
                f"{function}: prefixes must hold Prefix or None, got {type(one).__name__}. "
                "DecodeEngine.prefix makes one of a text."
            )
        if one is not None and one.network is not network:
            raise InputError(
                f"{function}: a prefix must be of the engine that gets it, got one of another. "
                "Make it with the prefix method of this engine."
            )


def check_callable(function: str, **given: Any) -> None:
    """Raise InputError if an argument is neither None nor callable.

    Raises
    ------
    InputError
    """
    for name, value in given.items():
        if value is not None and not callable(value):
            raise InputError(
                f"{function}: {name} must be a function or None, got {type(value).__name__}."
            )


def seeds_of(function: str, seeds: Sequence[int] | None, rows: int, spare: int) -> list[int]:
    """Check a seed for each row; None is the same one for all."""
    if seeds is None:
        return [spare] * rows
    listed = list(seeds) if isinstance(seeds, Iterable) else []
    whole = all(isinstance(one, int | np.integer) for one in listed)
    if len(listed) != rows or not whole or any(not 0 <= one < 1 << 63 for one in listed):
        raise InputError(f"{function}: seeds must be {rows} integers of 0 or more, got {seeds!r}.")
    return [int(one) for one in listed]


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
