"""Bridge from encoder tokens to the context of the Q-Former."""

from __future__ import annotations

from torch import Tensor, nn

from ..errors import InputError


class Bridge(nn.Module):
    """The adapter "that bridges the encoders and the LLM" (LLM4Brain, section 3.2, stage II).

    The paper does not specify its form. Here it is the projection head of Mind-Video, the fMRI
    encoder that LLM4Brain builds on: a linear map across tokens with a signed weight per brain
    location, then a linear map across channels. Attention weights are not negative, so attention
    alone cannot subtract one location from another and needs far more data for the same maps.

    Parameters
    ----------
    n_tokens : int
        Number of encoder tokens, including the cls tokens.
    dim : int
        Width of the encoder.
    out_tokens : int
        Number of context tokens. 0: no map across tokens, so the bridge fits any grid.
    out_dim : int
        Width of the context.
    """

    def __init__(self, n_tokens: int, dim: int, *, out_tokens: int, out_dim: int) -> None:
        super().__init__()
        self.n_tokens, self.out_dim = n_tokens, out_dim
        self.mix = nn.Linear(n_tokens, out_tokens) if out_tokens else None
        self.norm = nn.LayerNorm(dim)
        self.map = nn.Linear(dim, out_dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens (B, n_tokens, dim) to a context (B, out_tokens or n_tokens, out_dim)."""
        if self.mix is not None:
            if tokens.shape[1] != self.n_tokens:
                raise InputError(
                    f"Bridge: tokens must be (B, {self.n_tokens}, dim), got {tuple(tokens.shape)}."
                )
            tokens = self.mix(tokens.transpose(1, 2)).transpose(1, 2)
        return self.map(self.norm(tokens))
