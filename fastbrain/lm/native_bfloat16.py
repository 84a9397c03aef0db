"""bfloat16 products where the processor has instructions for them."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch


def native_bfloat16(device: torch.device) -> AbstractContextManager[Any]:
    """Multiply in bfloat16 inside the context, where a CPU does so by itself.

    For choices that do not need the digits of float32, such as which text to try next. Elsewhere
    nothing changes.

    Parameters
    ----------
    device : torch.device
        Of the model; only a CPU is asked.
    """
    if device.type == "cpu" and _has_instructions():
        return torch.autocast("cpu", dtype=torch.bfloat16)
    return nullcontext()


def _has_instructions() -> bool:
    cpu = torch.cpu
    asked = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(cpu, name)() for name in asked if hasattr(cpu, name))
