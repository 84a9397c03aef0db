"""Replays of CUDA graphs: what a provider launches, without the time of the host."""

from __future__ import annotations

from collections.abc import Callable

import torch

Way = Callable[[], object]


def captured(way: Way) -> Way:
    """A replay of what a function launches; it raises where that cannot be captured."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(2):
            way()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        kept = way()

    def replay() -> object:
        graph.replay()
        return kept

    return replay
