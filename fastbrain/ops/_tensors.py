"""Element types, addresses and layouts of tensors as the C++ and CUDA kernels take them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from .. import _native

# types of tensors with memory that a kernel may read; a subclass may hold none
ORDINARY = (Tensor, Parameter)
# numbered as in csrc/dtype.h
DTYPES = {
    torch.float32: 0,
    torch.float16: 1,
    torch.bfloat16: 2,
    torch.float64: 3,
    torch.int16: 4,
}
# floating-point types that the CUDA and Triton kernels read
GPU_FLOATS = (torch.float32, torch.float16, torch.bfloat16)
# numbered as LoraActivation in csrc/lora.h
ACTIVATIONS = {"": 0, "gelu": 1, "silu": 2, "relu": 3}

# Without it (another DLPack) small problems go through the full checks, which take longer.
READS_TENSORS: bool = _native.read_tensors(
    *ORDINARY, getattr(Tensor, "__dlpack_c_exchange_api__", None)
)


def address(value: Tensor | None) -> int:
    """Return the address of the first element; 0 for None."""
    return 0 if value is None else value.data_ptr()


def contiguous(*values: Tensor | float | None) -> tuple[Any, ...]:
    """Return the tensors in contiguous layout; numbers and None stay as they are."""
    # isinstance(v, Tensor) is slow for what is no tensor, and a generator for what is so short
    return tuple([v if v is None or isinstance(v, float) else v.contiguous() for v in values])
