"""Rows of the cache that texts are written to, stepped together."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .architecture import Architecture
from .cache import Cache, Prefix
from .network import Network
from .prefill_graphs import PrefillGraphs

Step = Callable[[Cache, list[int], list[int]], Tensor]


def torch_step(network: Network) -> Step:
    """Make a step of PyTorch operations; it computes all rows up to the last one named."""

    def step(cache: Cache, rows: list[int], tokens: list[int]) -> Tensor:
        count = max(rows) + 1
        fed = [0] * count
        for row, token in zip(rows, tokens, strict=True):
            fed[row] = token
        # rows that are not named write to a place that they do not read
        at = [min(n, cache.length - 1) for n in cache.lengths[:count]]
        device = cache.keys.device
        fed_ids, positions = torch.tensor([fed, at], device=device)
        return network.step(fed_ids, positions, cache)[rows]

    return step


class Rows:
    """A cache, the network that fills it, and the step that continues its rows.

    Parameters
    ----------
    network : Network
    step : Step
    count, length : int
        Rows and positions of the cache.
    dtype : torch.dtype
    """

    def __init__(
        self, network: Network, step: Step, count: int, length: int, dtype: torch.dtype
    ) -> None:
        self.network, self._step = network, step
        self.cache = Cache(network.net, count, length, dtype)
        self._prefills: PrefillGraphs | None = None

    @property
    def net(self) -> Architecture:
        """Architecture of the network."""
        return self.network.net

    def need(self, count: int) -> None:
        """Make room for `count` rows."""
        if count > self.cache.rows:
            self.cache = Cache(self.net, count, self.cache.length, self.cache.keys.dtype)
            self._prefills = None  # its graphs have the addresses of the old one

    def open(self, row: int, prefix: Prefix | None, embeds: Tensor) -> Tensor:
        """Rewind a row to a prefix, append `embeds` (S, d), and return the next logits (V,)."""
        self.cache.rewind(row, prefix)
        if len(embeds):
            if self.net.device.type != "cuda":
                return self.network.prefill(embeds, self.cache, row)
            if self._prefills is None:
                self._prefills = PrefillGraphs(self.network, self.cache)
            return self._prefills.prefill(embeds, row)
        assert prefix is not None
        return prefix.logits

    def step(self, rows: list[int], tokens: list[int]) -> Tensor:
        """Append a token to each of some rows and return their next logits (n, V) float32.

        The next step may overwrite them.
        """
        logits = self._step(self.cache, rows, tokens)
        for row in rows:
            self.cache.lengths[row] += 1
        return logits


class BeamRows:
    """The stepper of a beam search: `width` rows for each of some opened windows.

    Window i is opened in row ``i · width``.
    """

    def __init__(
        self, rows: Rows, prefixes: list[Prefix | None], width: int, bias: Tensor | None
    ) -> None:
        self._rows, self._width, self._bias = rows, width, bias
        self._since = [0 if p is None else len(p) for p in prefixes]
        for i, prefix in enumerate(prefixes):
            for row in range(i * width + 1, (i + 1) * width):
                rows.cache.rewind(row, prefix)
        self._spread = False

    def reorder(self, rows: Tensor) -> None:
        """Copy rows; the first call names windows, each for all of its beams."""
        sources = rows.tolist()
        if not self._spread:
            sources = [window * self._width for window in sources]
            self._spread = True
            if self._bias is not None:
                self._bias = self._bias[rows]
        for i, since in enumerate(self._since):
            first = i * self._width
            self._rows.cache.reorder(sources[first : first + self._width], first, since)

    def step(self, tokens: Tensor) -> Tensor:
        """Append a token (B,) to each row and return the next logits (B, V)."""
        logits = self._rows.step(list(range(len(tokens))), tokens.tolist())
        return logits if self._bias is None else logits + self._bias
