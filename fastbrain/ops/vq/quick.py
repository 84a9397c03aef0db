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
    if not _plainly_right(x, codes, metric, mask):
        return None
    euclidean = metric == "euclidean"
    rows = x.numel() // x.shape[-1]
    panels = None
    if packed is not None:
        if packed.metric != metric or packed.version != _version(codes):
            return None
        panels = packed.panels
    elif rows >= FEWEST_PACKED:
        panels = PACKS.of(codes, metric)
    power = _checks.summable(x.dtype, x.shape[-1], factors=2)
    if panels is not None:
        if not _checks.all_below(x, power) or (not euclidean and is_tiny(x)):
            return None
        return cpu.nearest(x, mask, panels, euclidean, codes.shape[0])
    if packed is not None or rows > MOST_PLAIN:
        return None
    return cpu.nearest_plain(x, mask, codes, euclidean, power)


def _version(codes: Tensor) -> int:
    """Return the version of the codes; -1, which no codes have, where none is counted."""
    return -1 if codes.is_inference() else codes._version


def _plainly_right(x: Any, codes: Any, metric: Any, mask: Any) -> bool:
    """Return whether rows, codes and mask are dense, on the CPU and fit each other."""
    return (
        _checks.plain(x, codes, optional=(mask,))
        and x.dtype is codes.dtype
        and x.dtype in _HELD
        and codes.dim() == 2
        and x.dim() > 0
        and x.shape[-1] == codes.shape[1]
        and x.numel() > 0
        and 0 < codes.shape[0] < 1 << 31
        and codes.is_contiguous()
        and type(metric) is str
        and metric in METRICS
        and (mask is None or (mask.dtype is torch.bool and mask.shape == x.shape[:-1]))
    )
