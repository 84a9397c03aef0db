"""Short ways of a lookup on the CPU, for arguments that are plainly right.

The full checks of a lookup read the codebook, which costs more than the lookup of a few rows. Here
a codebook is read once, by the kernel that also checks it, or not at all if it was packed.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .. import _checks
from . import cpu
from .codebook import METRICS, PackedCodebook, is_tiny
from .packs import PACKS

# rows from which on a digest and a packed copy cost less than the codes as they are
FEWEST_PACKED = 8
# rows up to which codes are searched as they lie in memory; csrc/bind_vq.cpp, kFewestRows
MOST_PLAIN = 64
_HELD = (torch.float32, torch.bfloat16, torch.float16)


def nearest(x: Any, codebook: Any, metric: Any, mask: Any) -> Tensor | None:
    """Return what the C++ backend finds, or None where only the full checks can tell."""
    packed = codebook if type(codebook) is PackedCodebook else None
    codes = codebook if packed is None else packed.codebook
    if not _checks.plain(x, codes) or type(metric) is not str or metric not in METRICS:
        return None
    dtype, shape, count = x.dtype, x.shape, x.numel()
    if codes.dtype is not dtype or dtype not in _HELD or codes.dim() != 2 or not count:
        return None
    size, width = codes.shape
    if not shape or shape[-1] != width or not 0 < size < 1 << 31 or not codes.is_contiguous():
        return None
    if mask is not None and not (
        _checks.plain(mask) and mask.dtype is torch.bool and mask.shape == shape[:-1]
    ):
        return None
    euclidean = metric == "euclidean"
    rows = count // width
    panels = None
    if packed is not None:
        if packed.metric != metric or packed.version != _version(codes):
            return None
        panels = packed.panels
    elif rows >= FEWEST_PACKED:
        panels = PACKS.of(codes, metric)
    power = _checks.summable(dtype, width, factors=2)
    if panels is not None:
        if not _checks.all_below(x, power) or (not euclidean and is_tiny(x)):
            return None
        return cpu.nearest(x, mask, panels, euclidean, size)
    if packed is not None or rows > MOST_PLAIN:
        return None
    return cpu.nearest_plain(x, mask, codes, euclidean, power)


def _version(codes: Tensor) -> int:
    """Return the version of the codes; -1, which no codes have, where none is counted."""
    return -1 if codes.is_inference() else codes._version
