"""Packed copies of codebooks that come again unchanged.

A tensor cannot tell whether it has changed: its version counter misses edits through ``.data``,
NumPy or a device-independent view, and another tensor may get the memory of a freed one. The
version and the address only suggest that a codebook comes again; before a copy is used, a digest of
all codes, taken at the speed of memory, must equal that of the codes that were packed.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .. import _checks
from . import cpu
from .codebook import is_tiny

MOST_BYTES = 128 << 20
_MOST_CODEBOOKS = 64
_MOST_PATIENCE = 256

Key = tuple[int, torch.Size, torch.dtype, str]


@dataclass
class _Seen:
    """What is known of the codes at one address."""

    version: int
    digest: int | None = None
    packed: tuple[int, Tensor] | None = None  # digest of the codes, panels
    # sights to let pass, and how many after the next change that the version did not tell
    wait: int = 0
    patience: int = 1


@dataclass
class Packs:
    """Bounded cache of packed codebooks; the least recently used one goes first.

    It holds no tensor of the caller.

    Parameters
    ----------
    most_bytes : int
        Of all packed copies together.
    """

    most_bytes: int
    _seen: OrderedDict[Key, _Seen] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def of(self, codes: Tensor, metric: str) -> Tensor | None:
        """Return the panels of contiguous codes (C, D) from their second sight on, or None.

        None also means that the codes are not finite, too large or too small for the panels, or too
        many for the cache.
        """
        key = (codes.data_ptr(), codes.shape, codes.dtype, metric)
        version = -1 if codes.is_inference() else codes._version
        with self._lock:
            seen = self._seen.get(key)
            if seen is None or seen.version != version:
                self._seen[key] = _Seen(version)
                self._seen.move_to_end(key)
                self._trim()
                return None
            self._seen.move_to_end(key)
            if seen.wait:
                seen.wait -= 1
                return None
        digest = cpu.digest(codes)
        packed = seen.packed
        if packed is not None and packed[0] == digest:
            return packed[1]
        with self._lock:
            edited = seen.digest not in (None, digest)
            seen.digest = digest
            if edited:
                seen.packed, seen.wait = None, seen.patience
                seen.patience = min(2 * seen.patience, _MOST_PATIENCE)
                return None
        panels = self._pack(codes, metric)
        # another thread may have edited the codes meanwhile
        if panels is None or cpu.digest(codes) != digest:
            seen.wait = _MOST_PATIENCE
            return None
        with self._lock:
            seen.packed = (digest, panels)
            self._trim()
        return panels

    def clear(self) -> None:
        """Forget everything; also after a fork, where another thread may have held the lock."""
        self._lock = threading.Lock()
        self._seen = OrderedDict()

    def held_bytes(self) -> int:
        """Return the bytes of all packed copies."""
        return sum(_size(s.packed[1]) for s in self._seen.values() if s.packed is not None)

    def _pack(self, codes: Tensor, metric: str) -> Tensor | None:
        power = _checks.summable(codes.dtype, codes.shape[1], factors=2)
        if 4 * cpu.packed_numbers(codes) > self.most_bytes or not _checks.all_below(codes, power):
            return None
        if metric == "euclidean" and is_tiny(codes):
            return None
        return cpu.pack(codes.detach(), metric)

    def _trim(self) -> None:
        while len(self._seen) > _MOST_CODEBOOKS or self.held_bytes() > self.most_bytes:
            self._seen.popitem(last=False)


def _size(panels: Tensor) -> int:
    return panels.numel() * panels.element_size()


PACKS = Packs(MOST_BYTES)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=PACKS.clear)
