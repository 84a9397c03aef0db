"""How every Triton kernel of this folder is started: on the device that holds its tensors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def launch(kernel: Any, grid: tuple[int, ...], *arguments: Any, **constants: Any) -> None:
    """Start a kernel on the device of its first tensor.

    Triton itself launches on the current device, whatever device the tensors are on: for a tensor
    on ``cuda:1`` while device 0 is current that is an illegal address.

    Parameters
    ----------
    kernel : JITFunction
    grid : tuple of int
        Number of programs along up to three axes.
    *arguments
        Positional arguments of the kernel, all on one device.
    **constants
        Its compile-time constants, ``num_warps`` and ``num_stages``.
    """
    first = next(a for a in arguments if isinstance(a, Tensor))
    if first.is_cuda:
        with torch.cuda.device(first.device):
            kernel[grid](*arguments, **constants)
    else:
        kernel[grid](*arguments, **constants)
