"""Cases of the nearest code and of the running codebook."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ..vq import VQState, vq_lookup, vq_update_
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
    """Rows and codes; `ties` doubles every code, masked rows are NaN."""

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
    """A codebook and assignments, some of them -1."""

    def build(numbers: Numbers) -> Call:
        state = VQState.from_codebook(numbers.normal(codes, width))
        indices = numbers.whole(-1, codes, count)
        options: dict[str, Any] = {"decay": 0.9}
        if masked:
            options["mask"] = numbers.whole(0, 2, count).bool()
        changed = (state.codebook, state.count, state.total)
        return Call((state, numbers.normal(count, width), indices), options, changed=changed)

    return build


CASES = cases(
    (
        vq_lookup,
        HALF,
        {
            "euclidean": lookup((127,), 101, 63),
            "cosine": lookup((3, 31), 63, 17, "cosine"),
            "masked": lookup((2, 63), 31, 8, masked=True),
            "ties": lookup((127,), 63, 8, ties=True),
            "one": lookup((1,), 1, 1),
            "no-batch": lookup((0,), 7, 5),
        },
    ),
    (
        vq_update_,
        (torch.float32,),
        {
            "plain": update(127, 31, 63),
            "masked": update(101, 63, 8, masked=True),
            "no-batch": update(0, 7, 5),
        },
    ),
)
