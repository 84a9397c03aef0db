"""CUDA backends: a C++ kernel for the rows of a decoding step, and flash-attn for attention.

A linear layer of a few rows is one launch. Attention uses flash-attn, if it is installed and
supports the inputs, between projections of the Triton backend.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from .. import _cuda
from .._dispatch import any_gradient
from .._tensors import ACTIVATIONS, DTYPES, GPU_FLOATS, address, contiguous
from . import attention, triton
from .checks import AttentionProblem, LinearProblem

MOST_ROWS, HIGHEST_RANK = 16, 64
# numbers of a weight from which on Triton reads it faster
_WIDE = 1 << 23
_HAS_FLASH = find_spec("flash_attn") is not None
_WIDEST_HEAD = 256

_library = torch.library.Library("fastbrain", "FRAGMENT")
_library.define(
    "lora_linear_cuda(Tensor x, Tensor weight, Tensor? bias, Tensor a, Tensor b, float scale, "
    "str activation) -> Tensor"
)


def can_run(problem: LinearProblem) -> str | None:
    """Return None, or the reason why the CUDA kernel cannot run the checked problem."""
    x, weight, bias, a, b, _, _ = problem
    reason = _cuda.missing(x)
    if reason is not None:
        return reason
    if x.dtype not in GPU_FLOATS:
        return f"x is {x.dtype}; it takes float32, float16 and bfloat16"
    rows = x.shape[:-1].numel()
    if rows > MOST_ROWS:
        return f"x has {rows} rows; it takes at most {MOST_ROWS}"
    if a.shape[0] > HIGHEST_RANK:
        return f"the rank is {a.shape[0]}; it takes at most {HIGHEST_RANK}"
    if max(weight.shape) >= 1 << 31:
        return f"the layer is {max(weight.shape)} wide; it counts in 32 bits"
    if any_gradient(x, weight, bias, a, b):
        return "a gradient is asked for; it is for inference"
    return None


def slower(problem: LinearProblem) -> str | None:
    """Return None, or that Triton is faster for the layer."""
    x, weight, _, a, *_ = problem
    rows = x.shape[:-1].numel()
    few = "1 row" if rows == 1 else "2 to 4 rows" if rows <= 4 else "5 to 16 rows"
    layer = f"{weight.shape[1]} to {weight.shape[0]} rank {a.shape[0]}"
    first = "triton" if rows > 4 or weight.numel() >= _WIDE else "cuda"
    return _cuda.slower("lora_backend", f"{str(x.dtype)[6:]} {few} of {layer}", x, first=first)


def call(problem: LinearProblem) -> Tensor:
    """Adapted linear layer of a few rows on the GPU."""
    return torch.ops.fastbrain.lora_linear_cuda(*problem[:-1], problem.activation or "")


def can_attend(problem: AttentionProblem) -> str | None:
    """Return None, or the reason why flash-attn cannot run the checked attention."""
    x = problem.x
    if not _HAS_FLASH:
        return "flash-attn is not installed"
    if x.device.type != "cuda":
        return f"the tensors are on {x.device}"
    if x.dtype not in (torch.float16, torch.bfloat16):
        return f"x is {x.dtype}; flash-attn takes float16 and bfloat16"
    if problem.mask is not None:
        return "there is a mask, which flash-attn does not take"
    head = x.shape[-1] // problem.num_heads
    if head > _WIDEST_HEAD or head % 8:
        return f"a head is {head} wide; flash-attn takes multiples of 8 to 256"
    return triton.can_attend(problem)


def attend(problem: AttentionProblem) -> Tensor:
    """Adapted attention by flash-attn, with gradients for every tensor."""
    return attention.attention("linear_triton", problem, _flash)


def _flash(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    from flash_attn import flash_attn_func

    return flash_attn_func(q, k, v)


def _forward(x: Tensor, weight: Tensor, *rest: Any) -> Tensor:
    out = _fake(x, weight)
    *tensors, scale, activation = x, weight, *rest
    x, weight, bias, a, b = contiguous(*tensors)
    _cuda.launch(
        "lora_decode_cuda",
        x,
        x=address(x),
        weight=address(weight),
        bias=address(bias),
        a=address(a),
        b=address(b),
        out=address(out),
        type=DTYPES[x.dtype],
        sizes=(x.shape[:-1].numel(), x.shape[-1], weight.shape[0], a.shape[0]),
        activation=ACTIVATIONS[activation],
        scale=scale,
    )
    return out


def _fake(x: Tensor, weight: Tensor, *_: Any) -> Tensor:
    return x.new_empty(*x.shape[:-1], weight.shape[0])


for _key in _cuda.KEYS:
    _library.impl("lora_linear_cuda", _forward, _key)
torch.library.register_fake("fastbrain::lora_linear_cuda", _fake, lib=_library)
