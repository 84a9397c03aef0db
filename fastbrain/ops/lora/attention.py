"""Attention with adapted projections: the parts shared by all backends except the reference.

q, k and v come from one product with the packed weight; their adapters are added in place to its
columns, without a merged weight or a second q. The scores are computed by PyTorch or flash-attn
attention, which does not store the whole score matrix in its fused kernels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch.nn.functional as F
from torch import Tensor

from .autograd import adapted
from .checks import AttentionProblem, Layer, LoraWeights
from .products import AdaptedLayer

# queries, keys, values (B, T, H, d) and mask (B, H, T, T) to (B, T, H, d)
Attend = Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]


def mixed(adapters: Mapping[str, LoraWeights]) -> str | None:
    """Return the reason why the adapters of q, k and v cannot share one product, or None."""
    kinds = {(w.scale, w.activation) for name, w in adapters.items() if name != "out"}
    if len(kinds) > 1:
        return "the adapters of q, k and v differ in scale or activation"
    return None


def scaled_dot_product(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """PyTorch attention, which selects one of its kernels."""
    q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2)


def attention(pair: str, problem: AttentionProblem, attend: Attend = scaled_dot_product) -> Tensor:
    """Adapted attention with projections computed by the pair `pair`."""
    x, qkv, out, adapters, num_heads, mask = problem
    batch, length, width = x.shape
    packed = {name: row * width for row, name in enumerate("qkv") if name in adapters}
    projected = _project(pair, x, qkv, [adapters[name] for name in packed], list(packed.values()))
    q, k, v = projected.unflatten(-1, (3, num_heads, width // num_heads)).unbind(2)
    heads = attend(q, k, v, mask).reshape(batch, length, width)
    last = [adapters["out"]] if "out" in adapters else []
    return _project(pair, heads, out, last, [0] * len(last))


def _project(
    pair: str, x: Tensor, layer: Layer, adapters: list[LoraWeights], rows: list[int]
) -> Tensor:
    if not adapters:
        return F.linear(x, *layer)
    a, b = [w.a for w in adapters], [w.b for w in adapters]
    first = adapters[0]
    wanted = AdaptedLayer(x, *layer, a, b, rows, first.scale, first.activation or "")
    return adapted(pair, wanted)
