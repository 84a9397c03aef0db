"""What the backends in Triton share."""

from __future__ import annotations

import os
from importlib.util import find_spec

import torch
from torch import Tensor

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
INSTALLED = find_spec("triton") is not None
# Triton reads it when it is imported; then its kernels run on CPU tensors, slowly
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
KEYS = ("CUDA", "CPU") if INTERPRETED else ("CUDA",)


def missing(value: Tensor) -> str | None:
    """None, or why no Triton kernel can take this tensor."""
    if not INSTALLED:
        return "triton is not installed"
    if value.device.type != "cuda" and not (INTERPRETED and value.device.type == "cpu"):
        return f"the tensors are on {value.device}"
    return None


def unread(name: str, value: Tensor) -> str | None:
    """None, or why our Triton kernels cannot take this tensor: its place or its precision."""
    reason = missing(value)
    if reason is None and value.dtype not in DTYPES:
        reason = f"{name} is {value.dtype}; it takes float32, float16 and bfloat16"
    return reason
