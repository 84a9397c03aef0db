"""Rows sorted by code, as index tables of a fixed size, computed without a host sync."""

from __future__ import annotations

import torch
from torch import Tensor

# rows added up by one program; a code with more rows has several pieces, added up afterwards
PIECE = 128


def sort_by_code(indices: Tensor, mask: Tensor | None, count: int) -> tuple[Tensor, Tensor]:
    """Sort rows by code: the order, (N,) int64, and the start of each code, (C + 1,) int64.

    Rows without a code come last, from the position in the last entry on.
    """
    flat = indices.reshape(-1)
    used = flat >= 0 if mask is None else (flat >= 0) & mask.reshape(-1)
    codes, order = torch.where(used, flat, count).sort(stable=True)
    return order, torch.searchsorted(codes, torch.arange(count + 1, device=codes.device))


def pieces_of(bounds: Tensor, rows: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Cut segments of `rows` rows into pieces of at most PIECE.

    Parameters
    ----------
    bounds : Tensor, (C + 1,) int64
        Segment c is ``[bounds[c], bounds[c + 1])``.
    rows : int

    Returns
    -------
    begins, ends : Tensor, (P,) int64
        Rows of each piece; entries beyond the last piece are empty. P depends only on the number of
        rows and codes.
    firsts, lasts : Tensor, (C,) int64
        Pieces of each segment.
    """
    pieces = (bounds.diff() + PIECE - 1) // PIECE
    lasts = pieces.cumsum(0)
    firsts = lasts - pieces
    # a segment has at most one incomplete piece
    piece = torch.arange(rows // PIECE + len(pieces), device=bounds.device)
    segment = torch.searchsorted(lasts, piece, right=True).clamp_(max=len(pieces) - 1)
    begins = bounds[segment] + (piece - firsts[segment]) * PIECE
    return begins, torch.minimum(begins + PIECE, bounds[segment + 1]), firsts, lasts
