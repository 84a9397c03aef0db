"""Short ways of a lookup on the CPU, for arguments that are plainly right.

The full checks of a lookup read the codebook, which costs more than the lookup of a few rows. Here
a codebook is read once, by the kernel that also checks it, or not at all if it was packed.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ... import _native
from .. import _checks
from .._tensors import DTYPES
from . import cpu
from .codebook import METRICS, PackedCodebook, is_tiny
from .packs import PACKS

# rows from which on a digest and a packed copy cost less than the codes as they are
FEWEST_PACKED = 8
# rows up to which codes are searched as they lie in memory; csrc/bind_vq.cpp, kFewestRows
MOST_PLAIN = 64


def nearest(x: Any, codebook: Any, metric: Any, mask: Any) -> Tensor | None:
    """Return what the C++ backend finds, or None where only the full checks can tell."""
    packed = codebook if type(codebook) is PackedCodebook else None
    codes = codebook if packed is None else packed.codebook
    if torch.compiler.is_compiling() or type(metric) is not str or metric not in METRICS:
        return None
    found = _native.vq_arguments(x, codes, mask)
    if found is None and _checks.plain(x) and not x.is_contiguous():
        x = x.contiguous()
        found = _native.vq_arguments(x, codes, mask)
    if found is None:
        return None
    x_at, kind, mask_at, rows, _, size, width = found
    euclidean = metric == "euclidean"
    panels = None
    if packed is not None:
        if packed.metric != metric or packed.version != _version(codes):
            return None
        panels = packed.panels
    elif rows >= FEWEST_PACKED:
        panels = PACKS.of(codes, metric)
    power = _checks.summable(x.dtype, width, factors=2)
    if panels is None:
        return plain(x, found, euclidean, power) if packed is None and rows <= MOST_PLAIN else None
    threads = torch.get_num_threads()
    if not _native.all_below(x_at, kind, rows * width, power, threads) or (
        not euclidean and is_tiny(x)
    ):
        return None
    out = cpu.indices_of(x)
    _native.vq_lookup(
        x_at, kind, mask_at, rows, panels.data_ptr(), DTYPES[panels.dtype], True, euclidean, size,
        width, out.data_ptr(), threads,
    )  # fmt: skip
    return out


def plain(x: Tensor, found: tuple[int, ...], euclidean: bool, power: int) -> Tensor | None:
    """Return the nearest code of a few rows, reading each code once.

    `found` is the result of ``vq_arguments``. None if a row or a code is not below 2^`power`, if
    all are tiny, or if bounds on the rounding leave too many codes.
    """
    x_at, kind, mask_at, rows, codes_at, size, width = found
    out = cpu.indices_of(x)
    done = _native.vq_lookup_plain(
        x_at, kind, mask_at, rows, codes_at, kind, euclidean, size, width, power, out.data_ptr(),
        torch.get_num_threads(),
    )  # fmt: skip
    return out if done else None


def _version(codes: Tensor) -> int:
    """Return the version of the codes; -1, which no codes have, where none is counted."""
    return -1 if codes.is_inference() else codes._version
