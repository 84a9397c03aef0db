"""Helpers shared by the Triton backends."""

from __future__ import annotations

import os
from importlib.util import find_spec

from torch import Tensor

from ._tensors import GPU_FLOATS

INSTALLED = find_spec("triton") is not None
# Triton reads this variable on import; its kernels then run on CPU tensors, slowly
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
KEYS = ("CUDA", "CPU") if INTERPRETED else ("CUDA",)


def missing(value: Tensor) -> str | None:
    """Return None, or the reason why no Triton kernel can run on this tensor."""
    if not INSTALLED:
        return "triton is not installed"
    if value.device.type != "cuda" and not (INTERPRETED and value.device.type == "cpu"):
        return f"the tensors are on {value.device}"
    return None


def unread(name: str, value: Tensor) -> str | None:
    """Return None, or the reason (device or dtype) why the Triton kernels cannot read a tensor."""
    reason = missing(value)
    if reason is None and value.dtype not in GPU_FLOATS:
        reason = f"{name} is {value.dtype}; it takes float32, float16 and bfloat16"
    return reason
