"""Helpers shared by the CUDA C++ backends."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .. import _native
from . import _triton
from ._compiling import constant_in_graphs

# a build made for the tests runs the kernels on host memory, slowly
EMULATED = _native.cuda_emulated()
COMPILED = _native.cuda_compiled()
KEYS = ("CUDA", "CPU") if EMULATED else ("CUDA",)


def missing(value: Tensor) -> str | None:
    """Return None, or the reason why no CUDA kernel of fastbrain can run on this tensor."""
    if not COMPILED:
        return "fastbrain was built without CUDA"
    if value.device.type != "cuda" and not (EMULATED and value.device.type == "cpu"):
        return f"the tensors are on {value.device}"
    return None


@constant_in_graphs
def _chosen(kernel: str, shape: str, place: str, first: str) -> str:
    from ..kernels import tables

    names = ("cuda", "triton") if first == "cuda" else ("triton", "cuda")
    ways = tuple(tables.Candidate.of(name) for name in names)
    return tables.choose_on(kernel, shape, ways, torch.device(place)).variant


def slower(kernel: str, shape: str, value: Tensor, *, first: str = "cuda") -> str | None:
    """Return None, or that Triton is faster for a class of shapes.

    The table of the GPU says so (``kernels/tables``, as `kernel`); without one, `first`: what is
    expected to be faster from the rows of an H200.
    """
    if (
        EMULATED
        or not _triton.INSTALLED
        or _chosen(kernel, shape, str(value.device), first) == "cuda"
    ):
        return None
    return f"Triton is faster for {shape}, as measured on this GPU or expected from an H200"


def launch(entry: str, like: Tensor, **arguments: Any) -> None:
    """Call an entry point of the extension on the device of a tensor and its current stream."""
    function = getattr(_native, entry)
    if EMULATED:
        function(**arguments, stream=0)
        return
    with torch.cuda.device(like.device):
        function(**arguments, stream=torch.cuda.current_stream(like.device).cuda_stream)
