"""What a production variant of a Triton kernel is, so that it can be compiled without a GPU."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

TYPES = {
    torch.float32: "fp32",
    torch.float16: "fp16",
    torch.bfloat16: "bf16",
    torch.int16: "i16",
    torch.int32: "i32",
    torch.int64: "i64",
}


class Variant(NamedTuple):
    """A kernel with the types and constants of one kind of launch.

    Parameters
    ----------
    kernel : JITFunction
    arguments : dict
        Every argument by name: a type as Triton writes it (``"*bf16"``, ``"i32"``) or, if it is
        no string, the value of a constant.
    num_warps, num_stages : int
    tensor_cores : bool
        Whether the product must run on tensor cores; an exact float32 product cannot.
    aligned : tuple of str
        Integers that are multiples of 16 at this launch, which Triton compiles for.
    """

    kernel: Any
    arguments: dict[str, Any]
    num_warps: int
    num_stages: int
    tensor_cores: bool = True
    aligned: tuple[str, ...] = ()
