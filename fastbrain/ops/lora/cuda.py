"""CUDA backends: a C++ kernel for the rows of a decoding step, and flash-attn for attention.

A linear layer of a few rows is one launch. Attention uses flash-attn, if it is installed and
supports the inputs, between projections of the Triton backend.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec

import torch
from torch import Tensor

from .. import _cuda
from .._dispatch import any_gradient
from . import attention, triton
from .checks import Layer, LoraWeights

MOST_ROWS, HIGHEST_RANK = 16, 64
_HAS_FLASH = find_spec("flash_attn") is not None
_WIDEST_HEAD = 256
# numbered as in csrc/lora.h
_ACTIVATIONS = {"": 0, "gelu": 1, "silu": 2, "relu": 3}
_DTYPES = (torch.float32, torch.float16, torch.bfloat16)

_library = torch.library.Library("fastbrain", "FRAGMENT")
_library.define(
    "lora_linear_cuda(Tensor x, Tensor weight, Tensor? bias, Tensor a, Tensor b, float scale, "
    "str activation) -> Tensor"
)


def can_run(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    a: Tensor,
    b: Tensor,
    scale: float,
    activation: str | None,
) -> str | None:
    """Return None, or the reason why the CUDA kernel cannot run the checked problem."""
    reason = _cuda.missing(x)
    if reason is not None:
        return reason
    if x.dtype not in _DTYPES:
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


def call(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    a: Tensor,
    b: Tensor,
    scale: float,
    activation: str | None,
) -> Tensor:
    """Adapted linear layer of a few rows on the GPU."""
    return torch.ops.fastbrain.lora_linear_cuda(x, weight, bias, a, b, scale, activation or "")


def can_attend(
    x: Tensor,
    qkv: Layer,
    out: Layer,
    adapters: Mapping[str, LoraWeights],
    num_heads: int,
    mask: Tensor | None,
) -> str | None:
    """Return None, or the reason why flash-attn cannot run the checked attention."""
    if not _HAS_FLASH:
        return "flash-attn is not installed"
    if x.device.type != "cuda":
        return f"the tensors are on {x.device}"
    if x.dtype not in (torch.float16, torch.bfloat16):
        return f"x is {x.dtype}; flash-attn takes float16 and bfloat16"
    if mask is not None:
        return "there is a mask, which flash-attn does not take"
    if x.shape[-1] // num_heads > _WIDEST_HEAD or x.shape[-1] // num_heads % 8:
        return f"a head is {x.shape[-1] // num_heads} wide; flash-attn takes multiples of 8 to 256"
    return triton.can_attend(x, qkv, out, adapters, num_heads, mask)


def attend(
    x: Tensor,
    qkv: Layer,
    out: Layer,
    adapters: Mapping[str, LoraWeights],
    num_heads: int,
    mask: Tensor | None,
) -> Tensor:
    """Adapted attention by flash-attn, with gradients for every tensor."""
    return attention.attention("linear_triton", x, qkv, out, adapters, num_heads, mask, _flash)


def _flash(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    from flash_attn import flash_attn_func

    return flash_attn_func(q, k, v)


def _forward(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    a: Tensor,
    b: Tensor,
    scale: float,
    activation: str,
) -> Tensor:
    out = _fake(x, weight, bias, a, b, scale, activation)
    kept = [None if t is None else t.contiguous() for t in (x, weight, bias, a, b)]
    addresses = dict(zip(("x", "weight", "bias", "a", "b"), map(_cuda.address, kept), strict=True))
    _cuda.launch(
        "lora_decode_cuda",
        x,
        **addresses,
        out=_cuda.address(out),
        type=_cuda.TYPES[x.dtype],
        sizes=(x.shape[:-1].numel(), x.shape[-1], *weight.shape[:1], a.shape[0]),
        activation=_ACTIVATIONS[activation],
        scale=scale,
    )
    return out


def _fake(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    a: Tensor,
    b: Tensor,
    scale: float,
    activation: str,
) -> Tensor:
    return x.new_empty(*x.shape[:-1], weight.shape[0])


for _key in _cuda.KEYS:
    _library.impl("lora_linear_cuda", _forward, _key)
torch.library.register_fake("fastbrain::lora_linear_cuda", _fake, lib=_library)
