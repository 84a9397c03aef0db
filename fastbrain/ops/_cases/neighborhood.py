"""Cases of neighbourhood clustering, its memory and entropy separation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from ..neighborhood.op import entropy_separation, memory_update_, neighborhood_clustering
from ._case import HALF, Call, Numbers, cases


def clustering(
    batch: int,
    classes: int,
    size: int,
    width: int,
    variant: str,
    temperature: float = 0.05,
    *,
    prototypes_in: torch.dtype | None = None,
    memory_in: torch.dtype | None = None,
) -> Callable[[Numbers], Call]:
    """Make unit features, prototypes and a memory with one unvisited row.

    Prototypes and memory have the working precision, or the dtype that is given.
    """

    def build(numbers: Numbers) -> Call:
        features = numbers.unit(batch, width, leaf=True)
        prototypes = numbers.of(prototypes_in or numbers.dtype).unit(classes, width, leaf=True)
        memory = numbers.of(memory_in or numbers.dtype).unit(size, width)
        memory[size // 2] = 0  # unvisited
        options = {"temperature": temperature, "variant": variant}
        args = (features, prototypes, memory, numbers.rows(size, batch))
        return Call(args, options, (features, prototypes))

    return build


def memory(batch: int, size: int, width: int, momentum: float) -> Callable[[Numbers], Call]:
    """Make a memory and distinct rows to update."""

    def build(numbers: Numbers) -> Call:
        memory, features = numbers.unit(size, width), numbers.unit(batch, width)
        args = (memory, features, numbers.rows(size, batch))
        return Call(args, {"momentum": momentum}, changed=(memory,))

    return build


def separation(batch: int, classes: int, margin: float) -> Callable[[Numbers], Call]:
    """Make class logits."""

    def build(numbers: Numbers) -> Call:
        logits = numbers.normal(batch, classes, scale=3.0, leaf=True)
        return Call((logits,), {"rho": 0.5 * float(np.log(classes)), "margin": margin}, (logits,))

    return build


# logits are cosines times up to 20, and exponentials amplify their rounding: over 12 seeds the
# error of single elements reaches 8.5e-6 of the gradient's size, in the reference and the kernels
CLUSTERING = cases(
    (
        neighborhood_clustering,
        (torch.float32, torch.float64),
        {
            "dance": clustering(36, 10, 127, 63, "dance"),
            "paper": clustering(36, 10, 127, 63, "paper"),
            "paper-warm": clustering(4, 101, 63, 32, "paper", 0.5),
            "dance-wide": clustering(130, 7, 1009, 300, "dance"),
            "paper-wide": clustering(17, 3, 601, 515, "paper", 0.1),
            "dance-one": clustering(1, 2, 1, 5, "dance", 0.5),
            "paper-one": clustering(1, 1, 2, 1, "paper"),
        },
    ),
    (
        neighborhood_clustering,
        HALF[:1],
        {
            "dance-memory-float16": clustering(13, 3, 101, 259, "dance", memory_in=torch.float16),
            "paper-memory-bfloat16": clustering(36, 7, 127, 63, "paper", memory_in=torch.bfloat16),
        },
    ),
)
# similarities and sums are float32, so only the rounding of half-precision gradients is left
HALF_CLUSTERING = cases(
    (
        neighborhood_clustering,
        HALF[1:],
        {
            "dance-half": clustering(36, 10, 127, 63, "dance"),
            "paper-half": clustering(13, 3, 101, 259, "paper"),
            "dance-half-float-memory": clustering(
                *(13, 3, 101, 259, "dance"), memory_in=torch.float32
            ),
            "paper-half-float-memory": clustering(
                *(36, 10, 127, 63, "paper"), memory_in=torch.float32
            ),
            "dance-half-features": clustering(
                *(5, 17, 61, 31, "dance"), prototypes_in=torch.float32, memory_in=torch.float32
            ),
        },
    ),
)
# slopes reach -ln(1e-5), and small gradients carry their rounding: 6e-9 of 0.019 in the kernel,
# 5e-9 in the reference
SEPARATION = cases(
    (
        entropy_separation,
        (torch.float32,),
        {"wide": separation(63, 101, 0.5), "none": separation(31, 10, 0.0)},
    ),
)
CASES = [replace(case, condition=5.0) for case in CLUSTERING + SEPARATION] + HALF_CLUSTERING
CASES += cases(
    (
        memory_update_,
        HALF,
        {
            "replace": memory(36, 127, 63, 0.0),
            "average": memory(5, 101, 32, 0.9),
            "no-batch": memory(0, 7, 5, 0.5),
        },
    ),
)
