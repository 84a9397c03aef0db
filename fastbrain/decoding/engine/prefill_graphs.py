"""Captured prefills on a GPU: what follows a prefix has the same shape in every window."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .cache import Cache
from .network import Network
from .recent import Recent

# each graph keeps the memory of a prefill: a session has one shape, a service a few
MOST_GRAPHS = 16


class Captured:
    """Work on tensors of fixed addresses as a CUDA graph."""

    def __init__(self, work: Callable[[], Tensor]) -> None:
        self._graph: Any = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._out = work()

    def replay(self) -> Tensor:
        """Do the work again and return its result, which the next replay overwrites."""
        self._graph.replay()
        return self._out


class _Shape:
    """A shape that came once; from the second time on its prefill is a graph."""

    def __init__(self) -> None:
        self.captured: Captured | None = None
        self.given = torch.empty(0)


class PrefillGraphs:
    """Prefills of a row, captured when one of the same start and length comes again.

    With a fixed prefix and number of brain tokens, every window after the second is one graph. A
    shape is forgotten after `most` others, so that shapes that hardly repeat are not captured.

    Parameters
    ----------
    network : Network
    cache : Cache
        The graphs have its addresses.
    most : int
        Shapes that are remembered, each with a graph at most.
    """

    def __init__(self, network: Network, cache: Cache, most: int = MOST_GRAPHS) -> None:
        self._network, self._cache = network, cache
        self._shapes: Recent[_Shape] = Recent(most)

    def prefill(self, embeds: Tensor, row: int) -> Tensor:
        """Append `embeds` (T, d) to a row and return the next logits (V,)."""
        cache, network = self._cache, self._network
        start = cache.lengths[row]
        key = (row, start, len(embeds))
        shape = self._shapes.get(key)
        if shape is None:
            self._shapes.put(key, _Shape())
            return network.prefill(embeds, cache, row)
        if shape.captured is None:
            given = shape.given = embeds.clone()
            shape.captured = Captured(lambda: network.prefill(given, cache, row))
            cache.lengths[row] = start  # nothing was computed yet
        shape.given.copy_(embeds)
        logits = shape.captured.replay()
        cache.lengths[row] = start + len(embeds)
        return logits.clone()
