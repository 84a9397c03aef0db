"""A low-rank linear readout of all tokens at once, beside the Q-Former.

Convolution and attention treat all places alike; which patch said something is what decoding from
few recordings has to learn first. MinD-Video mixes patches with a linear layer behind its SC-MBM
encoder for the same reason; here the layer has low rank and starts as a ridge regression
(:func:`fastbrain.training.fit_readout`).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .config import LLM4BrainConfig


class Readout(nn.Module):
    """Linear map from every token to every latent, through `rank` numbers.

    Parameters
    ----------
    n_tokens, dim : int
        Tokens of a window and their width.
    rank : int
        Numbers that all latents share.
    n_queries, d_out : int
        Latents and their width.

    Attributes
    ----------
    gate : Parameter, (1,)
        Share of the Q-Former's latents in Z: 1 at first, 0 right after :meth:`set_weights`, from
        where training opens it again.
    """

    def __init__(self, n_tokens: int, dim: int, rank: int, n_queries: int, d_out: int) -> None:
        super().__init__()
        self.n_queries = n_queries
        self.read = nn.Linear(n_tokens * dim, rank, bias=False)
        self.write = nn.Linear(rank, n_queries * d_out)
        # silent until it is fitted or trained: the Q-Former alone speaks
        nn.init.zeros_(self.write.weight)
        nn.init.zeros_(self.write.bias)
        self.gate = nn.Parameter(torch.ones(1))

    @property
    def rank(self) -> int:
        """Numbers between tokens and latents."""
        return self.read.out_features

    def forward(self, tokens: Tensor, latents: Tensor) -> Tensor:
        """Add what tokens (B, n_tokens, dim) say to gated latents (B, n_queries, d_out)."""
        direct = self.write(self.read(tokens.flatten(1))).unflatten(1, (self.n_queries, -1))
        return direct + self.gate * latents

    @torch.no_grad()
    def set_weights(self, read: Tensor, write: Tensor, bias: Tensor) -> None:
        """Take over a fitted regression and close the gate.

        Parameters
        ----------
        read : Tensor, (r, n_tokens·dim)
            r may be smaller than the rank; the rest stays silent.
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
    """The readout that a configuration asks for, None where it asks for none."""
    if not config.readout_rank:
        return None
    latents = config.qformer
    return Readout(
        n_tokens, config.encoder.dim, config.readout_rank, latents.n_queries, latents.dim
    )
