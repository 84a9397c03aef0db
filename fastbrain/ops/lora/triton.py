"""Triton backend of the adapted layers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .. import _triton
from .._compiling import constant_in_graphs
from .._tensors import contiguous
from . import attention, products
from .autograd import Pair, adapted, register
from .checks import AttentionProblem, LinearProblem
from .products import AdaptedLayer

HIGHEST_RANK = 64
# positions inside a tile are 32-bit numbers
WIDEST = 1 << 22
# Where the table of the GPU names the fastest candidate for a layer, that decides. Elsewhere the
# kernels run where the branch is a large part of the memory traffic: narrow layers, and few rows at
# any width. That is a prediction, not a measurement: for others the PyTorch matmuls are expected to
# be faster by more than the branch costs, and the reference adds the branch in place.
NARROW, MOST_ROWS_IF_WIDE = 1024, 16
# from here on a layer is of another class of the table
_MANY_ROWS = 2048


def can_run(problem: LinearProblem) -> str | None:
    """Return None, or the reason why the Triton kernels do not run the checked problem."""
    return _reason(problem.x, problem.weight, (problem.a,))


def call(problem: LinearProblem) -> Tensor:
    """Adapted linear layer on the GPU, with gradients for every tensor."""
    return adapted("linear_triton", AdaptedLayer.of(problem))


def can_attend(problem: AttentionProblem) -> str | None:
    """Return None, or the reason why the Triton kernels do not run the checked attention."""
    x, adapters = problem.x, problem.adapters
    packed = [w.a for name, w in adapters.items() if name != "out"]
    last = [w.a for name, w in adapters.items() if name == "out"]
    return (
        attention.mixed(adapters)
        or _reason(x, problem.qkv[0], packed)
        or _reason(x, problem.out[0], last)
    )


def attend(problem: AttentionProblem) -> Tensor:
    """Adapted attention on the GPU: PyTorch attention between projections in Triton."""
    return attention.attention("linear_triton", problem)


def _reason(x: Tensor, weight: Tensor, a: Sequence[Tensor]) -> str | None:
    reason = _triton.unread("x", x)
    if reason is not None:
        return reason
    rank = sum(w.shape[0] for w in a)
    if rank > HIGHEST_RANK:
        return f"the ranks add up to {rank}; it takes at most {HIGHEST_RANK}"
    if max(weight.shape) > WIDEST:
        return f"the layer is {max(weight.shape)} wide; it takes at most {WIDEST}"
    rows = x.shape[:-1].numel()
    if rows > MOST_ROWS_IF_WIDE and min(weight.shape) > NARROW:
        many = rows >= _MANY_ROWS
        d_out, d_in = weight.shape
        winner = _measured(str(x.dtype), many, d_out, d_in, rank, str(x.device))
        layer = f"{rows} rows of a layer {weight.shape[1]} to {weight.shape[0]}: PyTorch's products"
        if winner == "apart":
            return f"{layer} were measured to be faster on this GPU"
        if not winner:
            return (
                f"{layer} are expected to be faster there "
                f"(it takes widths to {NARROW} and up to {MOST_ROWS_IF_WIDE} rows)"
            )
    return None


@constant_in_graphs
def _measured(dtype: str, many: bool, d_out: int, d_in: int, rank: int, place: str) -> str:
    """Return what the table of the GPU names for a layer of more than a few rows, or nothing."""
    from ...kernels import lora_shapes, tables

    rows = lora_shapes.MANY_ROWS if many else lora_shapes.DECODING_ROWS + 1
    kind = getattr(torch, dtype.removeprefix("torch."))
    shape = lora_shapes.layer_class(kind, rows, d_in, d_out, rank)
    return tables.measured("lora_wide", shape, torch.device(place)) or ""


def _forward(layer: AdaptedLayer) -> tuple[Tensor, Tensor]:
    # imported here, so that only a call that needs Triton imports it
    from ...kernels import lora as kernels

    low = F.linear(layer.x, products.side_by_side(layer.a))
    up = _placed(layer.b, layer.rows, layer.weight.shape[0])
    x, weight, bias = contiguous(layer.x, layer.weight, layer.bias)
    y = kernels.wide(
        *(x, weight, bias, low, up, layer.scale, layer.activation),
        by_rows=True,
        exact=_triton.INTERPRETED,
    )
    return y, low


def _gradients(
    grad: Tensor, layer: AdaptedLayer, low: Tensor, wanted: Sequence[bool]
) -> products.Gradients:
    from ...kernels import lora as kernels
    from ...kernels import lora_narrow

    x, weight, _, a, b, rows, scale, activation = layer
    for_x, for_weight, for_bias, for_a, for_b = wanted
    grad_x = grad_a = grad_b = None
    grad = grad.contiguous()
    if for_x or for_a or for_b:
        up = _placed(b, rows, weight.shape[0])
        into_low, into_up = lora_narrow.narrow(
            grad, low, up, scale, activation, exact=_triton.INTERPRETED
        )
        through = products.act_gradient(into_low, low.float(), activation).to(x.dtype)
    if for_x:
        down = products.side_by_side(a).contiguous()
        grad_x = kernels.wide(
            *(grad, weight.contiguous(), None, through, down, 1.0, ""),
            by_rows=False,
            exact=_triton.INTERPRETED,
        )
    if for_a:
        grad_a = through.T @ x
    if for_b:
        at = [sum(w.shape[1] for w in b[:i]) for i in range(len(b))]
        grad_b = [
            # copies, because the outputs of an operator must not share memory
            into_up[first : first + w.shape[0], start : start + w.shape[1]]
            .to(x.dtype, copy=True)
            .contiguous()
            for w, first, start in zip(b, rows, at, strict=True)
        ]
    grad_weight = grad.T @ x if for_weight else None
    grad_bias = grad.sum(0) if for_bias else None
    return grad_x, grad_weight, grad_bias, grad_a, grad_b


def _placed(b: Sequence[Tensor], rows: Sequence[int], d_out: int) -> Tensor:
    """Combine all B into one block matrix (d_out, Σr) with zeros elsewhere."""
    if len(b) == 1 and b[0].shape[0] == d_out:
        return b[0].contiguous()
    up = b[0].new_zeros(d_out, sum(w.shape[1] for w in b))
    at = 0
    for w, first in zip(b, rows, strict=True):
        up[first : first + w.shape[0], at : at + w.shape[1]] = w
        at += w.shape[1]
    return up


register("linear_triton", Pair(_forward, _gradients), _triton.KEYS)
