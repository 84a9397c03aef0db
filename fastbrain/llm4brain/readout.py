"""Low-rank linear readout of all tokens, parallel to the Q-Former.

Convolution and attention share their weights over all patches, but decoding from few recordings
must first learn which patches are informative. Mind-Video has a linear layer across patches after
its SC-MBM encoder for the same reason; here the layer is low-rank and starts as a ridge regression
(:func:`fastbrain.llm4brain.training.fit_readout`).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .config import LLM4BrainConfig


class Readout(nn.Module):
    """Linear map of rank `rank` from all tokens of a window to all latents.

    Parameters
    ----------
    n_tokens, dim : int
        Number of tokens in a window, and their width.
    rank : int
        Rank of the map.
    n_queries, d_out : int
        Number of latents, and their width.

    Attributes
    ----------
    gate : Parameter, (1,)
        Factor on the Q-Former latents in Z: 1 at the start, 0 after :meth:`set_weights`, then
        trained.
    """

    def __init__(self, n_tokens: int, dim: int, rank: int, n_queries: int, d_out: int) -> None:
        super().__init__()
        self.n_queries = n_queries
        self.read = nn.Linear(n_tokens * dim, rank, bias=False)
        self.write = nn.Linear(rank, n_queries * d_out)
        # zero until fitted or trained, so that Z comes from the Q-Former alone
        nn.init.zeros_(self.write.weight)
        nn.init.zeros_(self.write.bias)
        self.gate = nn.Parameter(torch.ones(1))

    @property
    def rank(self) -> int:
        """Rank of the map from tokens to latents."""
        return self.read.out_features

    def forward(self, tokens: Tensor, latents: Tensor) -> Tensor:
        """Add the map of tokens (B, n_tokens, dim) to the gated latents (B, n_queries, d_out)."""
        direct = self.write(self.read(tokens.flatten(1))).unflatten(1, (self.n_queries, -1))
        return direct + self.gate * latents

    @torch.no_grad()
    def set_weights(self, read: Tensor, write: Tensor, bias: Tensor) -> None:
        """Set the weights to a fitted regression and the gate to 0.

        Parameters
        ----------
        read : Tensor, (r, n_tokens·dim)
            r may be smaller than the rank; the remaining output weights are zero.
        write : Tensor, (n_queries·d_out, r)
        bias : Tensor, (n_queries·d_out,)
        """
        r = len(read)
        self.read.weight[:r] = read.to(self.read.weight)
        self.write.weight.zero_()
        self.write.weight[:, :r] = write.to(self.write.weight)
        self.write.bias.copy_(bias)
        self.gate.zero_()


def make_readout(config: LLM4BrainConfig, n_tokens: int) -> Readout | None:
    """Build the readout of a configuration, or return None if `readout_rank` is 0."""
    if not config.readout_rank:
        return None
    latents = config.qformer
    return Readout(
        n_tokens, config.encoder.dim, config.readout_rank, latents.n_queries, latents.dim
    )
