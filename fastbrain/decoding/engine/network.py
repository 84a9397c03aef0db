"""Forward pass of a decoder with PyTorch operations, on any device."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from .architecture import Architecture, Layer, Norm
from .cache import Cache

Attend = Callable[[int, Layer, Tensor, Tensor, Tensor], Tensor]


class Network:
    """Forward passes over a static cache: of one row's new tokens, of a tree, or of one step.

    Parameters
    ----------
    net : Architecture
    length : int
        Most positions of a sequence.
    """

    def __init__(self, net: Architecture, length: int) -> None:
        self.net = net
        self.tables: dict[str, tuple[Tensor, Tensor]] = {}
        if net.rotary is not None:
            like = torch.zeros(1, dtype=net.dtype, device=net.device)
            positions = torch.arange(length, device=net.device)[None]
            for kind in {layer.rotary for layer in net.layers}:
                # Gemma 3 has an embedding for each type of layer
                typed = isinstance(net.rotary.rope_type, dict)
                cos, sin = net.rotary(like, positions, *([kind] if typed else []))
                self.tables[kind] = (cos[0], sin[0])

    def prefill(self, embeds: Tensor, cache: Cache, row: int) -> Tensor:
        """Append `embeds` (T, d) to a row and return the logits (V,) of the token that follows."""
        start = cache.lengths[row]
        end = start + len(embeds)
        positions = torch.arange(start, end, device=embeds.device)
        masks = _Masks(positions, torch.arange(end, device=embeds.device))

        def attend(index: int, layer: Layer, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            keys, values = cache.keys[index, row : row + 1], cache.values[index, row : row + 1]
            keys[:, :, start:end] = k
            values[:, :, start:end] = v
            mask = masks.of(layer.window)
            return self._attention(q, keys[:, :, :end], values[:, :, :end], layer.scale, mask)

        states = self._body(embeds[None], positions, attend)
        cache.lengths[row] = end
        return self.logits(states[0, -1:])[0]

    def tree(self, ids: Tensor, depth: Tensor, ancestors: Tensor, cache: Cache, row: int) -> Tensor:
        """States (N, d) of the nodes of a tree of tokens that continues a row; nothing is kept.

        Parameters
        ----------
        ids, depth : Tensor, (N,) int64
            Token and depth, from 0, of each node.
        ancestors : Tensor, (N, N) bool
            True where column is row or one of its ancestors.
        """
        start = cache.lengths[row]
        positions = start + depth
        before = torch.arange(start, device=ids.device)
        visible = torch.cat([ancestors.new_ones(len(ids), start), ancestors], dim=1)
        masks = _Masks(positions, torch.cat([before, positions]), visible)

        def attend(index: int, layer: Layer, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            keys = torch.cat([cache.keys[index, row : row + 1, :, :start].to(k.dtype), k], dim=2)
            values = torch.cat(
                [cache.values[index, row : row + 1, :, :start].to(v.dtype), v], dim=2
            )
            return self._attention(q, keys, values, layer.scale, masks.of(layer.window))

        return self._body(self.net.embed(ids)[None], positions, attend)[0]

    def step(self, tokens: Tensor, positions: Tensor, cache: Cache) -> Tensor:
        """Append one token to each of the first R rows and return the next logits (R, V).

        No shape depends on the positions (R,), so that the step can be a CUDA graph.
        """
        rows = torch.arange(len(tokens), device=tokens.device)
        slots = torch.arange(cache.length, device=tokens.device)
        masks = _Masks(positions[:, None, None, None], slots)

        def attend(index: int, layer: Layer, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            keys, values = cache.keys[index], cache.values[index]
            keys[rows, :, positions] = k[:, :, 0].to(keys.dtype)
            values[rows, :, positions] = v[:, :, 0].to(values.dtype)
            n = len(tokens)
            mask = masks.of(layer.window, always=True)
            return self._attention(q, keys[:n], values[:n], layer.scale, mask)

        embeds = self.net.embed(tokens[:, None])
        return self.logits(self._body(embeds, positions[:, None], attend)[:, 0])

    def logits(self, states: Tensor) -> Tensor:
        """Logits (N, V) float32 of states (N, d)."""
        found = self.net.head(self._norm(states, self.net.norm))
        cap = self.net.logit_cap
        return (found if cap is None else torch.tanh(found / cap) * cap).float()

    def _body(self, x: Tensor, positions: Tensor, attend: Attend) -> Tensor:
        """States (R, T, d) of embeddings (R, T, d) at positions (T,) or (R, T)."""
        net = self.net
        if net.positions is not None:
            x = x + net.positions[positions]
        turns = {
            kind: (cos[positions].unsqueeze(-3), sin[positions].unsqueeze(-3))
            for kind, (cos, sin) in self.tables.items()
        }
        for index, layer in enumerate(net.layers):
            y = self._norm(x, layer.before_attention)
            q, k, v = (self._heads(part(y)) for part in (layer.q, layer.k, layer.v))
            if layer.q_norm is not None and layer.k_norm is not None:
                q, k = self._norm(q, layer.q_norm), self._norm(k, layer.k_norm)
            if turns:
                q, k = _turned(q, *turns[layer.rotary]), _turned(k, *turns[layer.rotary])
            y = layer.out(attend(index, layer, q, k, v).transpose(1, 2).flatten(2))
            x = x + (y if layer.after_attention is None else self._norm(y, layer.after_attention))
            y = self._norm(x, layer.before_mlp)
            up = layer.up(y)
            if layer.gate is None:
                y = layer.down(_ACTIVATIONS[net.activation](up))
            else:
                y = layer.down(_ACTIVATIONS[net.activation](layer.gate(y)) * up)
            x = x + (y if layer.after_mlp is None else self._norm(y, layer.after_mlp))
        return x

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (-1, self.net.head_width)).transpose(1, 2)  # (R, H, T, w)

    def _norm(self, x: Tensor, norm: Norm) -> Tensor:
        shape = (x.shape[-1],)
        if norm.bias is not None:
            return F.layer_norm(x.float(), shape, norm.weight, norm.bias, norm.eps).to(x.dtype)
        if x.dtype == torch.float32 or not norm.rounds_first:
            return F.rms_norm(x.float(), shape, norm.weight, norm.eps).to(x.dtype)
        return F.rms_norm(x.float(), shape, None, norm.eps).to(x.dtype) * norm.weight.to(x.dtype)

    def _attention(
        self, q: Tensor, k: Tensor, v: Tensor, scale: float, mask: Tensor | None
    ) -> Tensor:
        """Attention of q (R, H, T, w) to k and v (R, key heads, L, w); no mask is causal."""
        length, groups = q.shape[2], q.shape[1] // k.shape[1]
        k, v = k.to(q.dtype), v.to(q.dtype)  # a cache may be more precise than the model
        if length == 1:
            # the query heads of a key head as its queries, which need no copies of the keys
            q = q.unflatten(1, (-1, groups)).flatten(2, 3)
        elif groups > 1:
            k, v = k.repeat_interleave(groups, dim=1), v.repeat_interleave(groups, dim=1)
        if self.net.attention_cap is None:
            causal = mask is None and length > 1
            y = F.scaled_dot_product_attention(
                q, k, v, attn_mask=mask, scale=scale, is_causal=causal
            )
        else:
            cap = self.net.attention_cap
            scores = torch.tanh(q @ k.transpose(2, 3) * (scale / cap)) * cap
            if mask is None and length > 1:
                mask = torch.ones(length, length, dtype=torch.bool, device=q.device).tril()
            if mask is not None:
                scores = scores.masked_fill(~mask, -torch.inf)
            y = torch.softmax(scores, dim=-1, dtype=torch.float32).to(v.dtype) @ v
        return y.unflatten(2, (groups, length)).flatten(1, 2) if length == 1 else y


class _Masks:
    """Attention masks (..., T, L) of queries and keys at given positions, one for each window."""

    def __init__(self, queries: Tensor, keys: Tensor, visible: Tensor | None = None) -> None:
        # queries (T,), or (R, 1, 1, 1) for one token of each row
        self._queries = queries[:, None] if queries.dim() == 1 else queries
        self._keys, self._visible = keys, visible
        self._made: dict[int | None, Tensor | None] = {}
        self._square = queries.dim() == 1 and len(queries) == len(keys)

    def of(self, window: int | None, *, always: bool = False) -> Tensor | None:
        """Mask for a window; None where it is the plain causal one, unless `always`."""
        if window not in self._made:
            self._made[window] = self._make(window, always)
        return self._made[window]

    def _make(self, window: int | None, always: bool) -> Tensor | None:
        wide = window is None or (not always and window >= len(self._keys))
        if not always and self._visible is None and wide and self._square:
            return None
        seen = self._keys <= self._queries if self._visible is None else self._visible
        return seen if wide else seen & (self._keys > self._queries - window)  # type: ignore[operator]


def _turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary embedding of x (R, H, T, w) by tables (..., 1, T, w)."""
    left, right = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-right, left], dim=-1) * sin


_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": F.silu,
    "gelu": F.gelu,
    "gelu_tanh": partial(F.gelu, approximate="tanh"),
    "relu": F.relu,
}
