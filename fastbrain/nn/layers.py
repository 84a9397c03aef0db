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

from .. import ops
from .._arguments import checked
from ..ops.module_checks import holds_weight, untouched
from .config import AdaptorConfig


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

    @property
    def speaks(self) -> bool:
        """Whether it takes part.

        One whose B is zero stays out of inference on the CPU: kernels for few rows add in another
        order, and a fresh adaptor is to leave the frozen model exactly as it was.
        """
        learning = torch.is_grad_enabled() or torch.compiler.is_compiling()
        return self.enabled and (learning or not self.b.is_cpu or bool(self.b.any()))

    def weights(self) -> ops.LoraWeights:
        """The adaptor as :mod:`fastbrain.ops` takes it."""
        return ops.LoraWeights(self.a, self.b, self.scale, self.activation)


def make_adaptor(d_in: int, d_out: int, config: AdaptorConfig | None) -> Adaptor | None:
    """An adaptor, or None where the configuration asks for none."""
    return Adaptor(d_in, d_out, config) if config is not None and config.rank else None


@checked
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
        if lora is None or not lora.speaks:
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
        adaptors = {"q": lora.weights()} if lora is not None and lora.speaks else {}
        qkv, out = self.qkv, self.out
        if not (holds_weight(qkv) and holds_weight(out) and untouched(qkv, out)):
            return self._by_layers(x, adaptors.get("q"), mask)
        return ops.lora_attention(
            x,
            (qkv.weight, qkv.bias),
            (out.weight, out.bias),
            adaptors=adaptors,
            num_heads=self.heads,
            mask=mask,
        )

    def _by_layers(self, x: Tensor, adaptor: ops.LoraWeights | None, mask: Tensor | None) -> Tensor:
        """The same, calling the linear layers: others have put something between."""
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        if adaptor is not None:
            low = F.linear(x, adaptor.a)
            if adaptor.activation is not None:
                low = getattr(F, adaptor.activation)(low)
            q = q + adaptor.scale * F.linear(low, adaptor.b)
        q, k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in (q, k, v))
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)  # (B, H, T, d)
        return self.out(y.transpose(1, 2).flatten(2))


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
