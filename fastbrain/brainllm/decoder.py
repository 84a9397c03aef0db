"""Networks that map the components of each brain volume to one language-model embedding."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from .._arguments import checked
from ..nn.shards import Dropout
from .config import BrainLLMConfig


@checked(least={"out": 1})
def brain_decoder(config: BrainLLMConfig, out: int) -> nn.Module:
    """Build the network that maps volumes (B, t, k) to vectors (B, t, out).

    ``"mlp"`` is the network of the paper: two hidden layers of k units (in general `depth` layers
    of `width` units) with ReLU and dropout, and a projection without bias. ``"linear"`` is a linear
    layer with bias alone. ``"rnn"`` processes the window with a GRU, ``"big_mlp"`` has four times
    as many hidden units and one more layer, ``"multi_mlp"`` has one MLP for each position in the
    window. The paper gives only the names of the last three; their sizes are ours.

    Parameters
    ----------
    config : BrainLLMConfig
    out : int
        Width of the language model.
    """
    k, dropout = config.features, config.dropout
    # an additive position already shifts the input of the first layer
    bias = not config.additive_position
    if config.decoder == "linear":
        network: nn.Module = nn.Linear(k, out)
    elif config.decoder == "rnn":
        network = _Recurrent(k, out, dropout)
    elif config.decoder == "big_mlp":
        network = _mlp([k, 4 * k, 4 * k, 4 * k], out, dropout, bias)
    elif config.decoder == "multi_mlp":
        network = _EachFrame(
            [_mlp([k, k, k], out, dropout, bias) for _ in range(config.frames)],
        )
    else:
        network = _mlp([k, *[config.width or k] * config.depth], out, dropout, bias)
    for parameter in network.parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=0.01)
    return network


def _mlp(widths: list[int], out: int, dropout: float, bias: bool) -> nn.Sequential:
    layers: list[nn.Module] = []
    for i, (before, after) in enumerate(pairwise(widths)):
        layers += [nn.Linear(before, after, bias=bias and i == 0), nn.ReLU(), Dropout(dropout)]
    return nn.Sequential(*layers, nn.Linear(widths[-1], out, bias=False))


class _Recurrent(nn.Module):
    def __init__(self, k: int, out: int, dropout: float) -> None:
        super().__init__()
        self.gru = nn.GRU(k, k, batch_first=True)
        self.dropout, self.project = Dropout(dropout), nn.Linear(k, out, bias=False)

    def forward(self, window: Tensor) -> Tensor:
        return self.project(self.dropout(self.gru(window)[0]))


class _EachFrame(nn.Module):
    def __init__(self, networks: list[nn.Sequential]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, window: Tensor) -> Tensor:
        frames = zip(self.networks, window.unbind(dim=1), strict=False)
        return torch.stack([network(frame) for network, frame in frames], dim=1)


@checked(least={"out": 1})
def count_weights(config: BrainLLMConfig, out: int) -> int:
    """Count the trained weights of a BrainLLM without making them.

    The paper's sizes, 1,000 components and a language model of width 4,096, have 6,105,192.

    Parameters
    ----------
    config : BrainLLMConfig
    out : int
        Width of the language model.
    """
    total = 2 * out  # the marks
    if config.decoder != "none":
        with torch.device("meta"):
            total += sum(p.numel() for p in brain_decoder(config, out).parameters())
    total += config.frames * config.features if config.additive_position else 0
    return total + (config.features * out if config.steering else 0)
