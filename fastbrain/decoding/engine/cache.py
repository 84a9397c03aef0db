"""Static cache of keys and values: rows of a fixed length that can be rewound."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from .architecture import Architecture


@dataclass(frozen=True, eq=False)
class Prefix:
    """Keys and values of a text that was read once.

    Parameters
    ----------
    keys, values : Tensor, (layers, key_heads, P, head_width)
    logits : Tensor, (V,) float32
        Of the token after the text.
    network : object
        What read it; the keys and values mean nothing to another one.
    """

    keys: Tensor
    values: Tensor
    logits: Tensor
    network: object = field(repr=False)

    def __len__(self) -> int:
        return self.keys.shape[2]


class Cache:
    """Keys and values of `rows` sequences with room for `length` positions each.

    Parameters
    ----------
    net : Architecture
    rows, length : int
    dtype : torch.dtype
    """

    def __init__(self, net: Architecture, rows: int, length: int, dtype: torch.dtype) -> None:
        shape = (len(net.layers), rows, net.key_heads, length, net.head_width)
        # zeros, because masked positions are multiplied by 0 and must not be NaN
        self.keys = torch.zeros(shape, dtype=dtype, device=net.device)
        self.values = torch.zeros(shape, dtype=dtype, device=net.device)
        self.lengths = [0] * rows
        self._held: list[Prefix | None] = [None] * rows

    @property
    def rows(self) -> int:
        """Number of rows."""
        return self.keys.shape[1]

    @property
    def length(self) -> int:
        """Positions in each row."""
        return self.keys.shape[3]

    def rewind(self, row: int, prefix: Prefix | None) -> None:
        """Make a row hold nothing but a prefix; it is copied only if the row held another one."""
        if prefix is not None and self._held[row] is not prefix:
            self._held[row] = None  # an interruption leaves a part of each
            self.keys[:, row, :, : len(prefix)] = prefix.keys
            self.values[:, row, :, : len(prefix)] = prefix.values
        # without a prefix, position 0 is overwritten, and the prefix that the row held with it
        self._held[row] = prefix
        self.lengths[row] = 0 if prefix is None else len(prefix)

    def take(self, row: int) -> tuple[Tensor, Tensor]:
        """Copy keys and values (layers, key_heads, n, head_width) of a row."""
        n = self.lengths[row]
        return self.keys[:, row, :, :n].clone(), self.values[:, row, :, :n].clone()

    def reorder(self, sources: list[int], first: int, since: int) -> None:
        """Copy rows: row ``first + i`` becomes row ``sources[i]``, from position `since` on.

        Positions before `since` are equal in all these rows: they hold the same prefix.
        """
        moved = [(first + i, s) for i, s in enumerate(sources) if first + i != s]
        if not moved:
            return
        end = max(self.lengths[s] for _, s in moved)
        to = torch.tensor([i for i, _ in moved], device=self.keys.device)
        of = torch.tensor([s for _, s in moved], device=self.keys.device)
        for held in (self.keys, self.values):
            part = held[:, :, :, since:end]
            part[:, to] = part[:, of]
        lengths = [self.lengths[s] for _, s in moved]
        for (row, _), length in zip(moved, lengths, strict=True):
            self.lengths[row] = length
