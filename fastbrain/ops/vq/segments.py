"""Rows in the order of their codes: tables of a fixed size, made without a host sync."""

from __future__ import annotations

import torch
from torch import Tensor

# rows that one program adds up; a code with more has several, whose sums are added in turn
PIECE = 128


def sort_by_code(indices: Tensor, mask: Tensor | None, count: int) -> tuple[Tensor, Tensor]:
    """Order of the rows by their code, (N,) int64, and where each code begins, (C + 1,) int64.

    Rows without a code come last, behind what the last entry says.
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
        Rows of each piece; those beyond the last piece are empty. P depends on sizes alone.
    firsts, lasts : Tensor, (C,) int64
        Pieces of each segment.
    """
    pieces = (bounds.diff() + PIECE - 1) // PIECE
    lasts = pieces.cumsum(0)
    firsts = lasts - pieces
    # a segment has at most one piece that is not full
    piece = torch.arange(rows // PIECE + len(pieces), device=bounds.device)
    segment = torch.searchsorted(lasts, piece, right=True).clamp_(max=len(pieces) - 1)
    begins = bounds[segment] + (piece - firsts[segment]) * PIECE
    return begins, torch.minimum(begins + PIECE, bounds[segment + 1]), firsts, lasts
