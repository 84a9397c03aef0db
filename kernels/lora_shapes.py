"""Classes of shapes of the adapted layers, as tables name them. Nothing here imports Triton."""

from __future__ import annotations

import torch

# rows of a decoding step, and rows from which on large tiles keep every multiprocessor busy
DECODING_ROWS, MANY_ROWS = 16, 2048


def row_class(rows: int) -> int:
    """Return the smallest number of rows that has the same candidates."""
    return MANY_ROWS if rows >= MANY_ROWS else DECODING_ROWS + 1 if rows > DECODING_ROWS else 1


def rank_block(rank: int) -> int:
    """Return the tile columns for `rank`; tensor cores need at least 16."""
    return max(16, _power(rank))


def layer_class(dtype: torch.dtype, rows: int, depth: int, columns: int, rank: int) -> str:
    """Return the class of a product of `rows` rows; `rows` is a result of :func:`row_class`."""
    layout = f"{_power(depth)} to {_power(columns)}"
    return f"{str(dtype)[6:]} rows {rows}+ of {layout} rank {rank_block(rank)}"


def _power(number: int) -> int:
    """Round up to a power of two."""
    return 1 << (number - 1).bit_length() if number > 1 else 1
