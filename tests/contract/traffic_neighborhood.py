"""Bytes and operations of the Triton kernels of neighbourhood clustering: a model.

Left out are the indices and the four statistics of a sample, which no cache notices.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Traffic:
    """Bytes of each operand, and operations of all products."""

    bytes: dict[str, int]
    flops: int = 0


def ceil(a: int, b: int) -> int:
    """Divide and round up."""
    return -(-a // b)


def of_launch(launch: Any) -> Traffic | None:
    """The model of a recorded launch, or None for a kernel that has none."""
    models = {"fwd": sweep, "bwd": weights, "product": product, "finalise": finalise}
    model = models.get(launch.kernel.removesuffix("_kernel").rpartition("_")[2])
    return model and model(launch.arguments, launch.options)


def sweep(at: dict[str, Any], tile: dict[str, Any]) -> Traffic:
    """A pass over the memory: sums of each share and, if both fit registers, its products.

    With scores it reads the memory for its norms, and later passes do not.
    """
    batch, size, count, classes = (at[n] for n in ("batch", "size", "count", "classes"))
    width, known, dual = tile["WIDTH"], tile["KNOWN"], tile["DUAL"]
    strips, covered = ceil(batch, tile["BB"]), at["shares"] * at["span"]
    padded = strips * tile["BB"]
    steps = covered // tile["BN"]
    # the logits of prototypes and of the batch itself are computed by the first pass
    few = 0 if known else ceil(count, 16)
    # rows past the last repeat it; features stay in registers where products do
    scored = at["scores"] is not None
    held = 0 if scored else padded * (at["shares"] if dual else steps)
    products = 2 * padded * steps * tile["BN"] * ceil(width, tile["BK"]) * tile["BK"]
    return Traffic(
        {
            "memory": strips * covered * width * at["memory"].itemsize * (not (scored and known)),
            "scores": 4 * padded * covered * scored,
            "features": 4
            * width
            * (held * (not scored) + few * batch + bool(few) * strips * (count - classes)),
            "prototypes": 4 * width * strips * classes * bool(few),
            "bias": 4 * size * (strips if known else 1),
            "few": 4 * batch * count * bool(few),
            "sums": 4 * 3 * at["shares"] * batch,
            "products": 4 * 2 * at["shares"] * batch * width * dual,
        },
        products * (0 if scored else 3 if dual else 1)
        + 2 * padded * few * 16 * ceil(width, 32) * 32,
    )


def weights(at: dict[str, Any], tile: dict[str, Any]) -> Traffic:
    """A pass over a slab of the memory that stores the weights of its rows."""
    batch, width, planes = at["batch"], tile["WIDTH"], 1 + tile["DANCE"]
    strips, slab = ceil(batch, tile["BB"]), at["size"] - at["begin"]
    steps = ceil(slab, tile["BN"])
    padded, covered = strips * tile["BB"], steps * tile["BN"]
    scored = at["scores"] is not None
    return Traffic(
        {
            "memory": strips * covered * width * at["memory"].itemsize * (not scored),
            "scores": 4 * padded * covered * scored,
            "features": 4 * width * padded * steps * (not scored),
            "bias": 4 * strips * slab,
            "weights": planes * batch * min(covered, at["pitch"]) * at["weights"].itemsize,
            "sums": 4 * 2 * steps * batch * tile["DANCE"],
        },
        2 * padded * covered * ceil(width, tile["BK"]) * tile["BK"] * (not scored),
    )


def product(at: dict[str, Any], tile: dict[str, Any]) -> Traffic:
    """Stored weights times the rows of a slab, in shares."""
    rows, span, width = at["rows"], at["span"], tile["WIDTH"]
    shares = ceil(min(at["size"] - at["begin"], at["pitch"]), span)
    strips, tiles = ceil(rows, tile["BB"]), ceil(width, tile["BD"])
    covered = shares * span
    return Traffic(
        {
            "memory": strips * covered * width * at["memory"].itemsize,
            "weights": tiles * rows * min(covered, at["pitch"]) * at["weights"].itemsize,
            "products": 4 * shares * rows * width,
        },
        2 * strips * tile["BB"] * covered * tiles * tile["BD"],
    )


def finalise(at: dict[str, Any], tile: dict[str, Any]) -> Traffic:
    """The sum of all shares, and the gradients of features and prototypes."""
    batch, classes, width = at["batch"], at["classes"], tile["WIDTH"]
    return Traffic(
        {
            "products": 4 * at["shares"] * tile["PLANES"] * batch * width,
            "grads": 4 * (batch + classes) * width,
        }
    )
