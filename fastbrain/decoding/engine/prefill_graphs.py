"""Captured prefills on a GPU: what follows a prefix has the same shape in every window."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .cache import Cache
from .network import Network


class PrefillGraphs:
    """Prefills of a row, captured when one of the same start and length comes again.

    With a fixed prefix and number of brain tokens, every window after the second is one graph.

    Parameters
    ----------
    network : Network
    cache : Cache
        The graphs have its addresses.
    most : int
        Graphs that are kept.
    """

    def __init__(self, network: Network, cache: Cache, most: int = 16) -> None:
        self._network, self._cache, self._most = network, cache, most
        self._seen: set[tuple[int, int, int]] = set()
        self._graphs: dict[tuple[int, int, int], tuple[Any, Tensor, Tensor]] = {}

    def prefill(self, embeds: Tensor, row: int) -> Tensor:
        """Append `embeds` (T, d) to a row and return the next logits (V,)."""
        cache, network = self._cache, self._network
        key = (row, cache.lengths[row], len(embeds))
        if key not in self._seen or (key not in self._graphs and len(self._graphs) >= self._most):
            self._seen.add(key)
            return network.prefill(embeds, cache, row)
        if key not in self._graphs:
            given = embeds.clone()
            graph: Any = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                logits = network.prefill(given, cache, row)
            cache.lengths[row] = key[1]
            self._graphs[key] = (graph, given, logits)
        graph, given, logits = self._graphs[key]
        given.copy_(embeds)
        graph.replay()
        cache.lengths[row] = key[1] + key[2]
        return logits.clone()
