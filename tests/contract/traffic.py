"""Bytes and operations of the Triton kernels: a model, which `counting.py` counts again.

The model says how many bytes of each operand all programs request, before any cache, and how many
operations their products have, padding of tiles included.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import traffic_neighborhood
from traffic_neighborhood import Traffic, ceil

Tile = Mapping[str, int]


def vq_lookup(
    tile: Tile, *, rows: int, count: int, width: int, span: int, size: int, shared: bool
) -> Traffic:
    """Rows of `width` numbers of `size` bytes, `count` codes in shares of `span`, without a mask.

    A program that is `shared` writes a score beside each code.
    """
    strips, steps, shares = ceil(rows, tile["BM"]), ceil(count, tile["BN"]), ceil(count, span)
    inner = ceil(width, tile["BD"]) * tile["BD"]
    # rows wider than a tile are read again for each tile of codes; at the end of a share rows and
    # their two best codes are read once more
    again = steps if width > tile["BD"] else shares
    row = width * size
    requested = {
        "x": rows * row * (again + shares),
        "codes": strips * count * row + 2 * shares * rows * row,
        "weights": 4 * strips * (count + 2 * shares * tile["BM"]),
        "out": (4 if shared else 8) * shares * rows,
    }
    if shared:
        requested["scores"] = 4 * shares * rows
    return Traffic(requested, 2 * strips * tile["BM"] * steps * tile["BN"] * inner)


def vq_merge(*, rows: int, shares: int) -> Traffic:
    """The best of the shares of each row."""
    return Traffic({"scores": 4 * shares * rows, "codes": 4 * shares * rows, "out": 8 * rows}, 0)


def vq_sums(tile: Tile, *, rows: int, count: int, width: int, size: int, ordered: bool) -> Traffic:
    """Sums of `rows` rows by `count` codes; no row is in two of them."""
    tiles = ceil(width, tile["BD"])
    return Traffic(
        {
            "x": rows * width * size,
            "order": 8 * rows * tiles * ordered,
            **{"begins": 8 * count * tiles, "ends": 8 * count * tiles},
            "out": 4 * count * width,
        }
    )


def lora_wide(
    tile: Tile, *, rows: int, columns: int, depth: int, rank: int, size: int, described: bool
) -> Traffic:
    """A product with the low-rank branch in its accumulator; bias included."""
    strips, tiles = ceil(rows, tile["BM"]), ceil(columns, tile["BN"])
    # plain pointers repeat the last row to fill a tile, descriptors leave it out
    padded = strips * tile["BM"]
    inner = ceil(depth, tile["BK"]) * tile["BK"]
    return Traffic(
        {
            "left": (rows if described else padded) * depth * tiles * size,
            "right": strips * columns * depth * size,
            "bias": strips * columns * size,
            "low": padded * rank * tiles * size,
            "up": strips * columns * rank * size,
            "out": rows * columns * size,
        },
        2 * padded * tiles * tile["BN"] * (tile["BR"] + inner),
    )


def lora_narrow(tile: Tile, *, rows: int, columns: int, rank: int, size: int) -> Traffic:
    """Both gradients of the branch from one pass over dY."""
    tiles = ceil(columns, tile["BN"])
    strips = ceil(ceil(rows, tile["BM"]), max(1, 256 // tiles))
    splits = ceil(rows, strips * tile["BM"])
    return Traffic(
        {
            "grad": rows * columns * size,
            "low": rows * rank * tiles * size,
            "up": splits * columns * rank * size,
            "into_low": 4 * rows * rank * tiles,
            "into_up": 4 * splits * columns * rank,
        },
        4 * splits * strips * tile["BM"] * tiles * tile["BN"] * tile["BR"],
    )


def tokenize(
    tile: Tile, *, samples: int, patch: int, features: int, size: int, resident: bool
) -> Traffic:
    """Packed patches of one frame with both statistics, weight and bias."""
    strips, tiles = ceil(samples, tile["BM"]), ceil(features, tile["BD"])
    gathers = 1 if resident else tiles
    inner = ceil(patch, tile["BK"]) * tile["BK"]
    voxels = samples * patch * gathers
    return Traffic(
        {
            **{"volumes": 2 * voxels, "offsets": 4 * voxels},
            **{"mean": 4 * voxels, "inv_std": 4 * voxels},
            "weight": strips * features * patch * size,
            "bias": strips * features * size,
            "out": samples * features * size,
        },
        2 * strips * tile["BM"] * tiles * tile["BD"] * inner,
    )


def tokenize_gather(tile: Tile, *, samples: int, patch: int, size: int) -> Traffic:
    """The gather alone; `out` is the buffer."""
    voxels = samples * patch
    return Traffic(
        {
            **{"volumes": 2 * voxels, "offsets": 4 * voxels},
            **{"mean": 4 * voxels, "inv_std": 4 * voxels, "out": size * voxels},
        }
    )


def tokenize_backward(tile: Tile, *, samples: int, patch: int, features: int, size: int) -> Traffic:
    """The gradient of the weight from packed patches of one frame."""
    stretches, tiles = ceil(patch, tile["BK"]), ceil(features, tile["BD"])
    shares = min(ceil(264, stretches * tiles), ceil(samples, 4 * tile["BM"]))
    share = ceil(samples, shares)
    steps = ceil(share, tile["BM"]) * tile["BM"]
    voxels = samples * patch * tiles
    return Traffic(
        {
            "grad": samples * features * stretches * size,
            **{"volumes": 2 * voxels, "offsets": 4 * voxels},
            **{"mean": 4 * voxels, "inv_std": 4 * voxels},
            "out": 4 * shares * features * patch,
        },
        2 * shares * steps * stretches * tile["BK"] * tiles * tile["BD"],
    )


def of_launch(launch: Any) -> Traffic | None:
    """The model of a recorded launch, or None for a kernel that has none."""
    at, tile = launch.arguments, launch.options
    sizes = {name: value for name, value in at.items() if isinstance(value, int)}

    def chosen(*names: str) -> dict[str, int]:
        return {name: sizes[name] for name in names}

    if launch.kernel == "vq_lookup_fwd_kernel":
        named = chosen("rows", "count", "width", "span")
        shared = at["scores"] is not None
        return vq_lookup(tile, **named, size=at["x"].itemsize, shared=shared)
    if launch.kernel == "vq_lookup_merge_kernel":
        return vq_merge(**chosen("rows", "shares"))
    if launch.kernel == "vq_update_sums_kernel":
        # a call without an order sums consecutive rows, all of them
        sizes = {"rows": at["x"].shape[0], "count": at["begins"].shape[0], "width": at["width"]}
        ordered = at["order"] is not None
        return vq_sums(tile, **sizes, size=at["x"].itemsize, ordered=ordered)
    if launch.kernel.startswith("neighborhood_clustering"):
        return traffic_neighborhood.of_launch(launch)
    if re.fullmatch("lora_linear_(wide|persistent|ring)_kernel", launch.kernel):
        described = "persistent" in launch.kernel
        named = chosen("rows", "columns", "depth", "rank")
        return lora_wide(tile, **named, size=at["low"].itemsize, described=described)
    if launch.kernel == "lora_linear_narrow_kernel":
        return lora_narrow(tile, **chosen("rows", "columns", "rank"), size=at["grad"].itemsize)
    if launch.kernel in ("tokenize_voxels_fwd_kernel", "tokenize_voxels_resident_kernel"):
        resident = "resident" in launch.kernel
        named = chosen("samples", "patch", "features")
        return tokenize(tile, **named, size=at["weight"].itemsize, resident=resident)
    if launch.kernel == "tokenize_voxels_bwd_kernel":
        named = chosen("samples", "patch", "features")
        return tokenize_backward(tile, **named, size=at["grad"].itemsize)
    return None


def over_floor(launch: Any) -> float | None:
    """Bytes of the model over those of all operands once; of volumes, the voxels of patches."""
    model = of_launch(launch)
    if model is None:
        return None
    operands = {
        name: getattr(value, "base", value)
        for name, value in launch.arguments.items()
        if hasattr(getattr(value, "base", value), "untyped_storage")
    }
    once = 0
    for name, tensor in operands.items():
        if name in ("volumes", "mean", "inv_std"):
            windows = tensor.shape[0] if name == "volumes" else 1
            once += windows * operands["offsets"].numel() * tensor.itemsize
        else:
            once += tensor.nbytes
    return sum(size for name, size in model.bytes.items() if name in operands) / once
