"""Bytes that the kernels of CUDA C++ request, before any cache, for one telling call of each.

``python tests/contract/compile_record.py`` puts them beside what nvcc made of the kernels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from traffic import tokenize
from traffic_neighborhood import ceil


@dataclass(frozen=True)
class Shown:
    """A call in the table of ``docs/kernels.md``.

    Parameters
    ----------
    kernel : str
        Name, as :func:`compile_record_cuda.plain` has it.
    tile : str
    dynamic : int
        Bytes of dynamic shared memory of a block.
    launches : int
    requested, once : callable
        Bytes that all blocks request, and those of all operands once.
    """

    kernel: str
    tile: str
    dynamic: int
    launches: int
    requested: Callable[[], int]
    once: Callable[[], int]


def lora_decode(rows: int, d_in: int, d_out: int, rank: int) -> tuple[int, int]:
    """Rows of bfloat16; every block reads x and A for eight rows of the weight."""
    blocks = ceil(d_out, 8)
    fixed = 2 * (d_in * d_out + d_out * rank + d_out + rows * d_out)
    whole = 2 * (rows + rank) * d_in
    return fixed + blocks * whole, fixed + whole


def vq_lookup(rows: int, codes: int, width: int) -> tuple[int, int]:
    """Rows of bfloat16; eight of them read all codes, and are read again for every four codes."""
    groups = ceil(rows, 8)
    x = groups * ceil(codes, 4) * 8 * width * 2
    requested = x + groups * (codes * width * 2 + 8 * codes * 4) + 8 * rows
    return requested, 2 * (rows + codes) * width + 4 * codes + 8 * rows


def neighborhood(batch: int, classes: int, size: int, width: int) -> tuple[int, int]:
    """Half precision, value and gradients of "paper" on 132 multiprocessors."""
    tile, chunk, depth, blocks = 64, 32, 256, 132
    samples, wide = ceil(batch, 16) * 16, ceil(width, depth) * depth
    pitch = (ceil(size, tile) + ceil(classes, tile)) * tile
    splits = min(blocks // ceil(width, depth), pitch // chunk)
    sweep = (pitch + pitch // tile * samples) * width * 2 + batch * pitch * 4
    product = pitch * width * 2 + ceil(width, depth) * batch * pitch * 4
    shares = 2 * splits * samples * wide * 4
    finish = ceil(classes, 8) * batch * width * 2 + (batch + classes) * width * 4
    once = (size + batch + classes) * width * 2 + (batch + classes) * width * 4
    return sweep + product + shares + finish, once


def tokens(count: int, patch: int, features: int) -> tuple[int, int]:
    """One packed frame of int16 with both statistics, weight and bias in bfloat16."""
    sizes = {"samples": count, "patch": patch, "features": features, "size": 2}
    blocks = {"BM": 32, "BD": 64, "BK": 64}
    requested = sum(tokenize(blocks, **sizes, resident=False).bytes.values())
    once = count * patch * (2 + 4 + 4 + 4) + 2 * features * (patch + 1 + count)
    return requested, once


def _shown(kernel: str, tile: str, dynamic: int, launches: int, model: tuple[int, int]) -> Shown:
    return Shown(kernel, tile, dynamic, launches, lambda: model[0], lambda: model[1])


SHOWN = {
    "lora decode, 1 row, 768 to 3072, bf16": _shown(
        *("lora decode<bf16, 1, 1, 8>", "1 row · 8 columns · 8 warps", 0, 1),
        lora_decode(1, 768, 3072, 16),
    ),
    "lora decode, 16 rows, 768 to 3072, bf16": _shown(
        *("lora decode<bf16, 16, 1, 8>", "16 rows · 8 columns · 8 warps", 0, 1),
        lora_decode(16, 768, 3072, 16),
    ),
    "neighborhood paper, B 64, N 20000, D 768, bf16": _shown(
        *("neighborhood clustering<TensorCores<bf16>>", "64 × 64 × 64 · 32 × 256 · 8 warps"),
        *(92672, 1, neighborhood(64, 180, 20_000, 768)),
    ),
    "neighborhood paper, B 36, N 20000, D 2048, bf16": _shown(
        *("neighborhood clustering<TensorCores<bf16>>", "64 × 64 × 64 · 32 × 256 · 8 warps"),
        *(92672, 1, neighborhood(36, 180, 20_000, 2048)),
    ),
    "voxel_tokenizer, 1 packed frame of 900 × 512, bf16": _shown(
        *("voxel_tokenizer tokenize<int16, bf16>", "32 × 64 × 64 · 8 warps", 0, 1),
        tokens(900, 512, 768),
    ),
    "vq lookup, 8 rows, 8192 × 256, bf16": _shown(
        *("vq score<bf16, 8>", "8 rows · 4 codes a warp · 8 warps", 0, 2),
        vq_lookup(8, 8192, 256),
    ),
}
