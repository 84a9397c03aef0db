"""Cases of the voxel tokenizer: kernels, overlap, layouts, statistics and views."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...grid import TokenGrid, Triple
from ..voxel_tokenizer.op import tokenize_voxels
from ._case import HALF, Call, Numbers, cases


def tokenizer(
    shape: Triple,
    kernel: Triple,
    stride: Triple | None = None,
    *,
    batch: int,
    frames: int,
    features: int,
    packed: bool = False,
    statistics: str = "volume",
    stored: torch.dtype = torch.int16,
    view: str = "",
    share: float = 0.6,
) -> Callable[[Numbers], Call]:
    """Make windows of stored values, with NaN outside the mask for floating-point values."""

    def build(numbers: Numbers) -> Call:
        drawn = np.random.default_rng(7).random(shape)
        grid = TokenGrid.from_mask((drawn < share) | (drawn == drawn.min()), kernel, stride)
        values = numbers.whole(-3000, 3000, batch, frames, *shape).to(stored)
        mask = torch.tensor(grid.mask).to(numbers.device)
        if stored != torch.int16:
            # real data contain NaN outside the brain: these values must never be read
            values = torch.where(mask, values, torch.nan)
        offsets = torch.from_numpy(grid.offsets).to(numbers.device)

        def pack(t: Tensor) -> Tensor:
            return torch.where(offsets >= 0, t.flatten(-3)[..., offsets.clamp_min(0)], 0)

        if packed:
            values = pack(values).to(stored)
        if view == "strided":
            values = values.transpose(-1, -2).contiguous().transpose(-1, -2)
        if view == "offset":
            values = torch.cat([values, values])[batch:]
        scale = 0.002
        mean = (numbers.whole(-500, 500, *shape) * scale).float()
        inv_std = 1 / (numbers.whole(1, 9, *shape).float())
        if statistics in ("packed", "mixed"):
            inv_std = pack(inv_std)
        if statistics == "packed":
            mean = pack(mean)
        options: dict[str, Any] = {"grid": grid, "scale": scale}
        if statistics:
            options |= {"mean": mean, "inv_std": inv_std}
        weight = numbers.normal(features, frames, *kernel, scale=0.1, leaf=True)
        bias = numbers.normal(features, leaf=True)
        return Call((values, weight, bias), options, (weight, bias))

    return build


SMALL, CUBE = (13, 11, 9), (4, 4, 4)

CASES = cases(
    (
        tokenize_voxels,
        HALF,
        {
            "odd": tokenizer(SMALL, (3, 3, 3), batch=2, frames=1, features=63),
            "primes": tokenizer((17, 16, 19), CUBE, batch=3, frames=3, features=101),
            "eight": tokenizer((17, 16, 24), (8, 8, 8), batch=2, frames=2, features=127),
            "eight-windows": tokenizer((17, 16, 24), (8, 8, 8), batch=8, frames=1, features=96),
            "sixteen-windows": tokenizer((17, 16, 19), CUBE, batch=16, frames=3, features=65),
            "sixteen": tokenizer((32, 16, 17), (16, 16, 16), batch=1, frames=1, features=33),
            # most rows of a patch contain no brain voxel and are skipped
            "sparse": tokenizer(
                (33, 24, 17), (8, 8, 8), batch=5, frames=3, features=33, share=0.01
            ),
            "sparse-sixteen": tokenizer(
                (32, 32, 17), (16, 16, 16), batch=17, frames=1, features=65, share=0.001
            ),
            "one": tokenizer((1, 1, 1), (1, 1, 1), batch=1, frames=1, features=1),
            "no-batch": tokenizer(SMALL, (3, 3, 3), batch=0, frames=1, features=5),
            "packed": tokenizer(
                SMALL, CUBE, batch=2, frames=2, features=64, packed=True, statistics="packed"
            ),
            "packed-data": tokenizer(
                SMALL, CUBE, batch=2, frames=1, features=65, packed=True, view="offset"
            ),
            "mixed": tokenizer(SMALL, CUBE, batch=2, frames=1, features=31, statistics="mixed"),
            "raw": tokenizer(SMALL, CUBE, batch=1, frames=1, features=32, statistics=""),
            "overlapping": tokenizer(
                SMALL,
                (3, 4, 5),
                (2, 3, 3),
                batch=2,
                frames=2,
                features=7,
                statistics="packed",
            ),
            "wide": tokenizer((5, 6, 70), (1, 2, 64), batch=1, frames=1, features=63),
            "floats": tokenizer(SMALL, CUBE, batch=2, frames=1, features=31, stored=torch.float32),
            "strided": tokenizer(SMALL, CUBE, batch=2, frames=1, features=31, view="strided"),
            "offset": tokenizer(SMALL, CUBE, batch=2, frames=1, features=31, view="offset"),
        },
    ),
)
