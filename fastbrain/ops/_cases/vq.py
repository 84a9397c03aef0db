"""Cases of the nearest-code lookup and of the codebook update."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..vq.lookup import vq_lookup
from ..vq.state import VQState
from ..vq.update import vq_update_
from ._case import HALF, Call, Numbers, cases


def lookup(
    lead: tuple[int, ...],
    codes: int,
    width: int,
    metric: str = "euclidean",
    *,
    masked: bool = False,
    ties: bool = False,
) -> Callable[[Numbers], Call]:
    """Make rows and codes; `ties` duplicates every code, masked rows are NaN."""

    def build(numbers: Numbers) -> Call:
        x, codebook = numbers.normal(*lead, width), numbers.normal(codes, width)
        if ties:
            codebook = torch.cat([codebook, codebook.flip(0)])
        options: dict[str, Any] = {"metric": metric}
        if masked:
            options["mask"] = numbers.whole(0, 2, *lead).bool()
            x = torch.where(options["mask"][..., None], x, torch.nan)
        return Call((x, codebook), options)

    return build


def update(
    count: int, codes: int, width: int, *, masked: bool = False
) -> Callable[[Numbers], Call]:
    """Make a codebook and assignments, some of them -1."""

    def build(numbers: Numbers) -> Call:
        state = VQState.from_codebook(numbers.normal(codes, width))
        indices = numbers.whole(-1, codes, count)
        options: dict[str, Any] = {"decay": 0.9}
        if masked:
            options["mask"] = numbers.whole(0, 2, count).bool()
        changed = (state.codebook, state.count, state.total)
        return Call((state, numbers.normal(count, width), indices), options, changed=changed)

    return build


# tolerance of ties: difference of squared distances over the sum of the squared lengths
EQUALLY_NEAR = 1e-6


def equally_near(call: Call, got: Tensor, wanted: Tensor) -> bool:
    """Return whether each row got its nearest code or one equally near.

    Of equal codes, the index must be the expected one.
    """
    x, codes = call.args
    if not torch.equal(got < 0, wanted < 0):
        return False
    rows, first, second = x[wanted >= 0], codes[got[got >= 0]], codes[wanted[wanted >= 0]]
    if call.options["metric"] == "cosine":
        rows, first, second = (F.normalize(t, dim=1) for t in (rows, first, second))
    further = (rows - first).square().sum(1) - (rows - second).square().sum(1)
    size = rows.square().sum(1) + second.square().sum(1)
    other = (first != second).any(dim=1) & (further < EQUALLY_NEAR * size)
    return bool((other | (got[got >= 0] == wanted[wanted >= 0])).all())


CASES = cases(
    (
        vq_lookup,
        (*HALF, torch.float64),
        {
            "euclidean": lookup((127,), 101, 63),
            "cosine": lookup((3, 31), 63, 17, "cosine"),
            "masked": lookup((2, 63), 31, 8, masked=True),
            "ties": lookup((127,), 63, 8, ties=True),
            "one": lookup((1,), 1, 1),
            "wide": lookup((15,), 33, 257),
            "few-rows": lookup((13,), 601, 65),
            # wide loads, the last of which only one lane has
            "few-rows-aligned": lookup((9,), 257, 264),
            "few-rows-cosine": lookup((9,), 257, 31, "cosine", masked=True),
            "few-rows-ties": lookup((64,), 167, 33, ties=True),
            "cosine-masked": lookup((7, 11), 65, 33, "cosine", masked=True),
            "no-batch": lookup((0,), 7, 5),
        },
    ),
    (
        vq_update_,
        (torch.float32, torch.float64),
        {
            "plain": update(127, 31, 63),
            "few-codes": update(1009, 2, 5),
            "masked": update(101, 63, 8, masked=True),
            "no-batch": update(0, 7, 5),
        },
    ),
)

CASES = [replace(case, same=equally_near) if case.op == "vq_lookup" else case for case in CASES]
