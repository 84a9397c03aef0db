"""Launch of the Triton kernels on the device that holds their tensors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def launch(kernel: Any, grid: tuple[int, ...], *arguments: Any, **constants: Any) -> None:
    """Launch a kernel on the device of its first tensor.

    Triton launches on the current device even if the tensors are on another one: a tensor on
    ``cuda:1`` while device 0 is current would cause an illegal memory access.

    Parameters
    ----------
    kernel : JITFunction
    grid : tuple of int
        Number of programs along up to three axes.
    *arguments
        Positional arguments of the kernel, all on one device.
    **constants
        Compile-time constants of the kernel, ``num_warps`` and ``num_stages``.
    """
    first = next(a for a in arguments if isinstance(a, Tensor))
    if first.is_cuda:
        with torch.cuda.device(first.device):
            kernel[grid](*arguments, **constants)
    else:
        kernel[grid](*arguments, **constants)
