"""What the Triton kernels of the adapted layers share: the activation and the product of tiles."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def act(low, ACTIVATION: tl.constexpr):
    """Apply the activation of the branch, numbered as in ``lora.ACTIVATIONS``."""
    if ACTIVATION == 1:
        low = 0.5 * low * (1.0 + tl.erf(low * 0.7071067811865476))
    elif ACTIVATION == 2:
        low = low / (1.0 + tl.exp(-low))
    elif ACTIVATION == 3:
        low = tl.maximum(low, 0.0)
    return low


@triton.jit
def dot(left, right, total, EXACT: tl.constexpr):
    """Add a product, in float32 throughout if `EXACT`."""
    if EXACT:
        total = tl.dot(left.to(tl.float32), right.to(tl.float32), total, input_precision="ieee")
    else:
        total = tl.dot(left.to(right.dtype), right, total)
    return total
