"""A product of PyTorch that adds in float32 and gives float32, whatever it multiplies."""

from __future__ import annotations

import torch
from torch import Tensor


def float32_product(left: Tensor, right: Tensor) -> Tensor:
    """Compute ``left · right`` (M, N) float32; autocast does not change its precision.

    Parameters
    ----------
    left : Tensor, (M, K) float32, float16 or bfloat16
    right : Tensor, (K, N)
        In the dtype of `left`.
    """
    if left.dtype == torch.float32 or left.is_cpu:
        # half precision on the CPU: the kernels are interpreted, which is for tests
        out = left.new_empty(left.shape[0], right.shape[1], dtype=torch.float32)
        return torch.mm(left.float(), right.float(), out=out)
    return torch.mm(left, right, out_dtype=torch.float32)
