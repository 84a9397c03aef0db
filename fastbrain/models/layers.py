"""Transformer parts whose projections carry nonlinear low-rank adaptors.

An adaptor adds ``s · act(x Aᵀ) Bᵀ`` beside a linear layer (LLM4Brain, section 3.1). B starts at
zero, so a fresh adaptor leaves the frozen model exactly as it was.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .. import ops
from .config import AdaptorConfig

BERT_EPS = 1e-12


class Adaptor(nn.Module):
    """Low-rank weights A (r, d_in) and B (d_out, r); B is zero at the start.

    Parameters
    ----------
    d_in, d_out : int
    config : AdaptorConfig
    """

    def __init__(self, d_in: int, d_out: int, config: AdaptorConfig) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.empty(config.rank, d_in))
        self.b = nn.Parameter(torch.zeros(d_out, config.rank))
        self.scale = config.scale
        self.activation = config.activation
        self.enabled = True
        nn.init.kaiming_uniform_(self.a, a=math.sqrt(5))

    def weights(self) -> ops.LoraWeights:
        """The adaptor as :mod:`fastbrain.ops` takes it."""
        return ops.LoraWeights(self.a, self.b, self.scale, self.activation)


def make_adaptor(d_in: int, d_out: int, config: AdaptorConfig | None) -> Adaptor | None:
    """An adaptor, or None where the configuration asks for none."""
    return Adaptor(d_in, d_out, config) if config is not None and config.rank else None


@contextmanager
def adaptors_off(module: nn.Module) -> Iterator[None]:
    """Run `module` as the frozen model it was before any adaptor was trained."""
    adaptors = [m for m in module.modules() if isinstance(m, Adaptor)]
    before = [m.enabled for m in adaptors]
    try:
        for m in adaptors:
            m.enabled = False
        yield
    finally:
        for m, enabled in zip(adaptors, before, strict=True):
            m.enabled = enabled


class AdaptedLinear(nn.Linear):
    """A linear layer with an optional adaptor beside it.

    Parameters
    ----------
    d_in, d_out : int
    adaptor : AdaptorConfig, optional
    """

    def __init__(self, d_in: int, d_out: int, adaptor: AdaptorConfig | None = None) -> None:
        super().__init__(d_in, d_out)
        self.adaptor = make_adaptor(d_in, d_out, adaptor)

    def forward(self, x: Tensor) -> Tensor:
        """Map `x` (..., d_in) to (..., d_out)."""
        lora = self.adaptor
        if lora is None or not lora.enabled:
            return F.linear(x, self.weight, self.bias)
        return ops.lora_linear(
            x,
            self.weight,
            self.bias,
            lora.a,
            lora.b,
            scale=lora.scale,
            activation=lora.activation,
        )


class SelfAttention(nn.Module):
    """Multi-head self-attention with an adaptor in the query projection.

    Parameters
    ----------
    dim, heads : int
    adaptor : AdaptorConfig, optional
    """

    def __init__(self, dim: int, heads: int, adaptor: AdaptorConfig | None = None) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)
        self.q_adaptor = make_adaptor(dim, dim, adaptor)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attend within `x` (B, T, dim), where `mask` (B or 1, H or 1, T, T) bool is true."""
        lora = self.q_adaptor
        return ops.lora_attention(
            x,
            (self.qkv.weight, self.qkv.bias),
            (self.out.weight, self.out.bias),
            adaptors={"q": lora.weights()} if lora is not None and lora.enabled else {},
            num_heads=self.heads,
            mask=mask,
        )


class CrossAttention(nn.Module):
    """Attention of queries over a context, with an adaptor in the query projection.

    Parameters
    ----------
    dim, heads : int
    adaptor : AdaptorConfig, optional
    context_dim : int, optional
        Width of the context; default `dim`.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        adaptor: AdaptorConfig | None = None,
        *,
        context_dim: int | None = None,
    ) -> None:
        super().__init__()
        self.heads = heads
        self.q = AdaptedLinear(dim, dim, adaptor)
        self.kv = nn.Linear(context_dim or dim, 2 * dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """Let `x` (B, T, dim) attend to `context` (B, S, dim)."""
        q = self.q(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, H, T, d)
        kv = self.kv(context).unflatten(-1, (2, self.heads, -1))  # (B, S, 2, H, d)
        k, v = kv.permute(2, 0, 3, 1, 4)  # (B, H, S, d) each
        y = F.scaled_dot_product_attention(q, k, v)
        return self.out(y.transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    """Two linear layers with GELU between, an adaptor in both.

    Parameters
    ----------
    dim, hidden : int
    adaptor : AdaptorConfig, optional
    """

    def __init__(self, dim: int, hidden: int, adaptor: AdaptorConfig | None = None) -> None:
        super().__init__()
        self.up = AdaptedLinear(dim, hidden, adaptor)
        self.down = AdaptedLinear(hidden, dim, adaptor)

    def forward(self, x: Tensor) -> Tensor:
        """Map `x` (..., dim) to the same shape."""
        return self.down(F.gelu(self.up(x)))


class Block(nn.Module):
    """Transformer block: self-attention, optional cross-attention, MLP.

    Parameters
    ----------
    dim, heads : int
    mlp_ratio : float
        Hidden width of the MLP over `dim`.
    adaptor : AdaptorConfig, optional
    dropout : float
        On the output of each part.
    cross : bool
        Whether to attend to a context between self-attention and MLP.
    context_dim : int, optional
        Width of the context; default `dim`.
    post_norm : bool
        Normalise each sum, as BERT does, and not what goes into each part.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        *,
        mlp_ratio: float = 4.0,
        adaptor: AdaptorConfig | None = None,
        dropout: float = 0.0,
        cross: bool = False,
        context_dim: int | None = None,
        post_norm: bool = False,
    ) -> None:
        super().__init__()
        self.post_norm = post_norm
        eps = BERT_EPS if post_norm else 1e-5
        self.norm_attention = nn.LayerNorm(dim, eps=eps)
        self.attention = SelfAttention(dim, heads, adaptor)
        self.norm_cross = nn.LayerNorm(dim, eps=eps) if cross else None
        self.cross = CrossAttention(dim, heads, adaptor, context_dim=context_dim) if cross else None
        self.norm_mlp = nn.LayerNorm(dim, eps=eps)
        self.mlp = Mlp(dim, max(1, round(dim * mlp_ratio)), adaptor)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x: Tensor, context: Tensor | None = None, *, mask: Tensor | None = None
    ) -> Tensor:
        """Map `x` (B, T, dim) to the same shape.

        Reads `context` (B, S, d) if built for it; `mask` (B or 1, H or 1, T, T) bool says what
        each token may attend to in `x`.
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
    """Attention in space, then in time, then an MLP (Mind-Video, section 3.2).

    The temporal attention starts at zero: the block is then the spatial one.

    Parameters
    ----------
    dim, heads, mlp_ratio, adaptor, dropout
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
        adaptor: AdaptorConfig | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(dim, heads, mlp_ratio=mlp_ratio, adaptor=adaptor, dropout=dropout)
        self.steps = steps
        self.norm_time = nn.LayerNorm(dim)
        self.time = SelfAttention(dim, heads, adaptor)

    def forward(
        self, x: Tensor, context: Tensor | None = None, *, mask: Tensor | None = None
    ) -> Tensor:
        """Map `x` (B·W, T, dim), the steps of a window one after the other, to the same shape.

        `mask` is that of the attention in space.
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
    """Run blocks one after the other.

    Parameters
    ----------
    blocks : ModuleList of Block
    x : Tensor, (B, T, dim)
    context : Tensor, (B, S, dim), optional
    recompute : bool
        Whether activations inside a block are computed again in the backward pass and not kept.
    """
    for block in blocks:
        if recompute and torch.is_grad_enabled():
            x = checkpoint(block, x, context, use_reentrant=False)
        else:
            x = block(x, context)
    return x


def init_trunk(module: nn.Module) -> None:
    """Xavier weights and zero biases for the linear layers of a transformer, as in MAE."""
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.xavier_uniform_(part.weight)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
    for part in module.modules():
        if isinstance(part, TemporalBlock):
            nn.init.zeros_(part.time.out.weight)
