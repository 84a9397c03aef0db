"""Cases of every op, shared by the tests, the benchmarks and ``fastbrain selftest``.

Sizes are unusual on purpose: primes, 1, 0, views with strides and offsets.
"""

from __future__ import annotations

from . import lora, neighborhood, voxel_tokenizer, vq
from ._case import Call, Case, Numbers

__all__ = ["Call", "Case", "Numbers", "all_cases"]


def all_cases() -> list[Case]:
    """Return every case of every op, in a fixed order."""
    return [*voxel_tokenizer.CASES, *lora.CASES, *neighborhood.CASES, *vq.CASES]
