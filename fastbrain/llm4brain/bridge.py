"""From the encoder's tokens to the Q-Former's context."""

from __future__ import annotations

from torch import Tensor, nn

from ..errors import InputError


class Bridge(nn.Module):
    """The adapter "that bridges the encoders and the LLM" (LLM4Brain, section 3.2, stage II).

    The paper does not give its form. Here it is the head of the fMRI encoder that LLM4Brain
    builds on (Mind-Video's projection head): a linear map across tokens, which weighs every place
    of the brain with a sign of its own, then one across channels. Attention alone cannot subtract
    one place from another and needs far more data to find the same maps.

    Parameters
    ----------
    n_tokens : int
        Tokens of the encoder, the cls token among them.
    dim : int
        Width of the encoder.
    out_tokens : int
        Context tokens; 0 leaves the tokens as they are, so that a model fits any grid.
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
