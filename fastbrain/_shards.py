"""Rows of a joined batch that one of several training processes computes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Shard:
    """A contiguous part of the rows of a joined batch.

    Parameters
    ----------
    start, rows : int
        First row and number of rows. With 0 rows a process computes one row of the batch with
        weight zero, because every process must take part in every exchange.
    total : int
        Rows of the joined batch.
    """

    start: int
    rows: int
    total: int


@dataclass(frozen=True)
class Part:
    """Which process this is, of how many that divide each batch.

    Parameters
    ----------
    rank, world : int
    """

    rank: int = 0
    world: int = 1

    def of(self, rows: Any) -> tuple[Any, Shard | None]:
        """Own rows of a joined batch and their shard; all rows and None for a single process."""
        if self.world == 1:
            return rows, None
        each, more = divmod(len(rows), self.world)
        own = each + (self.rank < more)
        shard = Shard(self.rank * each + min(self.rank, more), own, len(rows))
        return (rows[shard.start : shard.start + own] if own else rows[:1]), shard
