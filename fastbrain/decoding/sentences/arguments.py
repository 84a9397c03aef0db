"""Checks of what a sentence decoder is given: features, predictions, texts and pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import InputError
from ...lm.sentence_embeddings import check_unicode

Array = npt.NDArray[np.float64]


def rows_of(value: Any, width: int, *, function: str, name: str) -> Array:
    """Return finite numbers (N, `width`) as float64.

    Raises
    ------
    InputError
        The value has another shape, or holds something else than finite numbers.
    """
    contract = f"{function}: {name} must be numbers (N, {width})"
    try:
        rows = np.asarray(value)
    except Exception as error:  # ragged lists, tensors on a GPU or with a gradient
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"{contract}, got '{reason}'. Pass a NumPy array.") from error
    if rows.dtype.kind not in "fiu" or rows.ndim != 2 or rows.shape[1] != width:
        raise InputError(
            f"{contract}, got {rows.dtype} {rows.shape}. Pass a row for each brain, as in the fit."
        )
    if len(odd := np.flatnonzero(~np.isfinite(rows).all(axis=1))):
        raise InputError(
            f"{function}: {name} must be finite, got NaN or infinity in row {odd[0]}. Leave that "
            "brain out."
        )
    found: Array = rows.astype(np.float64, copy=False)
    return found


def check_texts(texts: Any, *, function: str) -> None:
    """Raise unless texts are one or more Unicode texts with words.

    Raises
    ------
    InputError
    """
    single = isinstance(texts, str) or not isinstance(texts, Sequence | np.ndarray)
    if single or not all(isinstance(text, str) for text in texts):
        raise InputError(
            f"{function}: texts must be a sequence of str, got {texts!r:.60}. Put a single text "
            "into a list."
        )
    if not len(texts) or not all(text.split() for text in texts):
        raise InputError(
            f"{function}: texts must be one or more and hold words, got "
            f"{'an empty one' if len(texts) else 'none'}. Leave empty texts out."
        )
    check_unicode(function, texts)


def pairs_of(value: Any, counts: tuple[int, int], *, function: str) -> npt.NDArray[np.int64]:
    """Return pairs (K, 2) of the numbers of a brain and of a text.

    Raises
    ------
    InputError
        The value has another shape or type, or a number is not one of so many brains and texts.
    """
    try:
        pairs = np.asarray(value)
    except Exception as error:  # ragged lists, tensors on a GPU
        raise InputError(
            f"{function}: pairs must be whole numbers (K, 2), got {type(value).__name__}. Pass a "
            "NumPy array."
        ) from error
    if not pairs.size and pairs.shape in ((0,), (0, 2)):
        return np.zeros((0, 2), dtype=np.int64)
    if pairs.dtype.kind not in "iu" or pairs.ndim != 2 or pairs.shape[1] != 2:
        raise InputError(
            f"{function}: pairs must be whole numbers (K, 2), got {pairs.dtype} {pairs.shape}. "
            "Name a brain and a text in each."
        )
    if (pairs < 0).any() or (pairs >= counts).any():
        raise InputError(
            f"{function}: pairs must be of {counts[0]} brains and {counts[1]} texts, got numbers "
            f"{pairs.min(axis=0).tolist()} to {pairs.max(axis=0).tolist()}. Count both from 0."
        )
    return pairs.astype(np.int64, copy=False)
