"""Transformer blocks: pre-norm, post-norm (BERT) and space-time (Mind-Video)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .config import AdapterConfig
from .layers import CrossAttention, Mlp, SelfAttention
from .shards import Dropout, current, within

BERT_EPS = 1e-12


class Block(nn.Module):
    """Transformer block: self-attention, optional cross-attention, MLP.

    Parameters
    ----------
    dim, heads : int
    mlp_ratio : float
        Hidden width of the MLP divided by `dim`.
    adapter : AdapterConfig, optional
    dropout : float
        Dropout rate on the output of each sub-layer.
    cross : bool
        Whether the block attends to a context between self-attention and MLP.
    context_dim : int, optional
        Width of the context; default `dim`.
    post_norm : bool
        Normalise each residual sum, as BERT does, instead of the input of each sub-layer.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        *,
        mlp_ratio: float = 4.0,
        adapter: AdapterConfig | None = None,
        dropout: float = 0.0,
        cross: bool = False,
        context_dim: int | None = None,
        post_norm: bool = False,
    ) -> None:
        super().__init__()
        self.post_norm = post_norm
        query, mlp, across = (adapter and adapter.at(p) for p in ("query", "mlp", "cross"))
        eps = BERT_EPS if post_norm else 1e-5
        self.norm_attention = nn.LayerNorm(dim, eps=eps)
        self.attention = SelfAttention(dim, heads, query)
        self.norm_cross = nn.LayerNorm(dim, eps=eps) if cross else None
        self.cross = CrossAttention(dim, heads, across, context_dim=context_dim) if cross else None
        self.norm_mlp = nn.LayerNorm(dim, eps=eps)
        self.mlp = Mlp(dim, max(1, round(dim * mlp_ratio)), mlp)
        self.dropout = Dropout(dropout)

    def forward(
        self, x: Tensor, context: Tensor | None = None, *, mask: Tensor | None = None
    ) -> Tensor:
        """Map `x` (B, T, dim) to the same shape.

        The block reads `context` (B, S, d) if `cross` is true. `mask` (B or 1, H or 1, T, T) bool
        is true where a token may attend to another token of `x`.
        """
        if self.post_norm:
            x = self.norm_attention(x + self.dropout(self.attention(x, mask)))
            if self.cross is not None and self.norm_cross is not None:
                x = self.norm_cross(x + self.dropout(self.cross(x, context)))
            return self.norm_mlp(x + self.dropout(self.mlp(x)))
        x = x + self.dropout(self.attention(self.norm_attention(x), mask))
        if self.cross is not None and self.norm_cross is not None:
            x = x + self.dropout(self.cross(self.norm_cross(x), context))
        return x + self.dropout(self.mlp(self.norm_mlp(x)))


class TemporalBlock(Block):
    """Transformer block: attention in space, then in time, then MLP (Mind-Video, section 3.2).

    The output of the temporal attention starts at zero, so a new block equals the spatial block.

    Parameters
    ----------
    dim, heads, mlp_ratio, adapter, dropout
        As in :class:`Block`.
    steps : int
        Length W of the time axis.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        *,
        steps: int,
        mlp_ratio: float = 4.0,
        adapter: AdapterConfig | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(dim, heads, mlp_ratio=mlp_ratio, adapter=adapter, dropout=dropout)
        self.steps = steps
        self.norm_time = nn.LayerNorm(dim)
        self.time = SelfAttention(dim, heads, adapter and adapter.at("query"))

    def forward(
        self, x: Tensor, context: Tensor | None = None, *, mask: Tensor | None = None
    ) -> Tensor:
        """Map `x` (B·W, T, dim), with the W steps of each window in order, to the same shape.

        `mask` applies to the attention in space.
        """
        del context
        x = x + self.dropout(self.attention(self.norm_attention(x), mask))
        tokens = x.shape[1]
        across = x.unflatten(0, (-1, self.steps)).transpose(1, 2).flatten(0, 1)  # (B·T, W, dim)
        across = across + self.dropout(self.time(self.norm_time(across)))
        x = across.unflatten(0, (-1, tokens)).transpose(1, 2).flatten(0, 1)
        return x + self.dropout(self.mlp(self.norm_mlp(x)))


def run_blocks(
    blocks: nn.ModuleList, x: Tensor, context: Tensor | None = None, *, recompute: bool = False
) -> Tensor:
    """Run blocks in sequence.

    Parameters
    ----------
    blocks : ModuleList of Block
    x : Tensor, (B, T, dim)
    context : Tensor, (B, S, dim), optional
    recompute : bool
        Whether to recompute the activations inside a block in the backward pass instead of
        keeping them.
    """
    shard = current()

    def within_shard(block: nn.Module, x: Tensor) -> Tensor:
        # the backward pass recomputes a block when its batch is no longer the current one
        with within(shard):
            return block(x, context)

    for block in blocks:
        if recompute and torch.is_grad_enabled():
            if shard is None:
                x = checkpoint(block, x, context, use_reentrant=False)
            else:
                x = checkpoint(within_shard, block, x, use_reentrant=False)
        else:
            x = block(x, context)
    return x


def init_trunk(module: nn.Module) -> None:
    """Initialise linear layers as MAE does: Xavier weights, zero biases.

    The output weight of each temporal attention is set to zero.
    """
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.xavier_uniform_(part.weight)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
    for part in module.modules():
        if isinstance(part, TemporalBlock):
            nn.init.zeros_(part.time.out.weight)
