"""Attention, MLP and linear layers with nonlinear low-rank adapters.

An adapter adds ``s · act(x Aᵀ) Bᵀ`` to the output of a linear layer (LLM4Brain, section 3.1). B
starts at zero, so a new adapter does not change the output of the frozen model.
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
from .config import AdapterConfig


class Adapter(nn.Module):
    """Low-rank weights A (r, d_in) and B (d_out, r) of an adapter; B starts at zero.

    Parameters
    ----------
    d_in, d_out : int
    config : AdapterConfig
    """

    def __init__(self, d_in: int, d_out: int, config: AdapterConfig) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.empty(config.rank, d_in))
        self.b = nn.Parameter(torch.zeros(d_out, config.rank))
        self.scale = config.scale
        self.activation = config.activation
        self.enabled = True
        nn.init.kaiming_uniform_(self.a, a=math.sqrt(5))

    @property
    def speaks(self) -> bool:
        """Whether the adapter is applied.

        An adapter with B = 0 is skipped in inference on the CPU: the kernels for few rows sum in
        another order, and a new adapter must not change the output of the frozen model.
        """
        learning = torch.is_grad_enabled() or torch.compiler.is_compiling()
        return self.enabled and (learning or not self.b.is_cpu or bool(self.b.any()))

    def weights(self) -> ops.LoraWeights:
        """Return the adapter in the form that :mod:`fastbrain.ops` takes."""
        return ops.LoraWeights(self.a, self.b, self.scale, self.activation)


def make_adapter(d_in: int, d_out: int, config: AdapterConfig | None) -> Adapter | None:
    """Build an adapter, or return None if the configuration is None or its rank is 0."""
    return Adapter(d_in, d_out, config) if config is not None and config.rank else None


@checked
@contextmanager
def adapters_off(module: nn.Module) -> Iterator[None]:
    """Context manager that disables all adapters in `module`."""
    adapters = [m for m in module.modules() if isinstance(m, Adapter)]
    before = [m.enabled for m in adapters]
    try:
        for m in adapters:
            m.enabled = False
        yield
    finally:
        for m, enabled in zip(adapters, before, strict=True):
            m.enabled = enabled


class AdaptedLinear(nn.Linear):
    """Linear layer with an optional adapter.

    Parameters
    ----------
    d_in, d_out : int
    adapter : AdapterConfig, optional
    """

    def __init__(self, d_in: int, d_out: int, adapter: AdapterConfig | None = None) -> None:
        super().__init__(d_in, d_out)
        self.adapter = make_adapter(d_in, d_out, adapter)

    def forward(self, x: Tensor) -> Tensor:
        """Map `x` (..., d_in) to (..., d_out)."""
        lora = self.adapter
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
    """Multi-head self-attention with an adapter in the query projection.

    Parameters
    ----------
    dim, heads : int
    adapter : AdapterConfig, optional
    """

    def __init__(self, dim: int, heads: int, adapter: AdapterConfig | None = None) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)
        self.q_adapter = make_adapter(dim, dim, adapter)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attend within `x` (B, T, dim), where `mask` (B or 1, H or 1, T, T) bool is true."""
        lora = self.q_adapter
        adapters = {"q": lora.weights()} if lora is not None and lora.speaks else {}
        qkv, out = self.qkv, self.out
        if not (holds_weight(qkv) and holds_weight(out) and untouched(qkv, out)):
            return self._by_layers(x, adapters.get("q"), mask)
        return ops.lora_attention(
            x,
            (qkv.weight, qkv.bias),
            (out.weight, out.bias),
            adapters=adapters,
            num_heads=self.heads,
            mask=mask,
        )

    def _by_layers(self, x: Tensor, adapter: ops.LoraWeights | None, mask: Tensor | None) -> Tensor:
        """Compute the same by calling the linear layers, so that hooks and replaced layers run."""
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        if adapter is not None:
            low = F.linear(x, adapter.a)
            if adapter.activation is not None:
                low = getattr(F, adapter.activation)(low)
            q = q + adapter.scale * F.linear(low, adapter.b)
        q, k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in (q, k, v))
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)  # (B, H, T, d)
        return self.out(y.transpose(1, 2).flatten(2))


class CrossAttention(nn.Module):
    """Multi-head cross-attention with an adapter in the query projection.

    Parameters
    ----------
    dim, heads : int
    adapter : AdapterConfig, optional
    context_dim : int, optional
        Width of the context; default `dim`.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        adapter: AdapterConfig | None = None,
        *,
        context_dim: int | None = None,
    ) -> None:
        super().__init__()
        self.heads = heads
        self.q = AdaptedLinear(dim, dim, adapter)
        self.kv = nn.Linear(context_dim or dim, 2 * dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """Attend from `x` (B, T, dim) to `context` (B, S, context_dim)."""
        q = self.q(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, H, T, d)
        kv = self.kv(context).unflatten(-1, (2, self.heads, -1))  # (B, S, 2, H, d)
        k, v = kv.permute(2, 0, 3, 1, 4)  # (B, H, S, d) each
        y = F.scaled_dot_product_attention(q, k, v)
        return self.out(y.transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    """Two linear layers with GELU between them and an adapter in each.

    Parameters
    ----------
    dim, hidden : int
    adapter : AdapterConfig, optional
    """

    def __init__(self, dim: int, hidden: int, adapter: AdapterConfig | None = None) -> None:
        super().__init__()
        self.up = AdaptedLinear(dim, hidden, adapter)
        self.down = AdaptedLinear(hidden, dim, adapter)

    def forward(self, x: Tensor) -> Tensor:
        """Map `x` (..., dim) to the same shape."""
        return self.down(F.gelu(self.up(x)))
