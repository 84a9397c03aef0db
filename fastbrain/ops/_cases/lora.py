"""Cases of the low-rank adapted linear layer and attention."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ..lora.checks import LoraWeights
from ..lora.op import lora_attention, lora_linear
from ._case import HALF, Call, Numbers, cases


def linear(
    lead: tuple[int, ...],
    d_in: int,
    d_out: int,
    rank: int,
    activation: str | None = None,
    *,
    bias: bool = True,
    view: str = "",
    leaf: bool = True,
) -> Callable[[Numbers], Call]:
    """Make a linear layer with an adapter; without gradients it is a decoding step."""

    def build(numbers: Numbers) -> Call:
        x = numbers.normal(*lead, d_in, leaf=leaf)
        weight = numbers.normal(d_out, d_in, scale=d_in**-0.5, leaf=leaf)
        offset = numbers.normal(d_out, leaf=leaf) if bias else None
        a = numbers.normal(rank, d_in, scale=d_in**-0.5, leaf=leaf)
        b = numbers.normal(d_out, rank, leaf=leaf)
        leaves = tuple(t for t in (x, weight, offset, a, b) if t is not None and leaf)
        seen = x.transpose(0, 1) if view == "strided" else x[1:] if view == "offset" else x
        options = {"scale": 0.5, "activation": activation}
        return Call((seen, weight, offset, a, b), options, leaves)

    return build


def attention(
    batch: int, length: int, heads: int, width: int, targets: str, *, masked: bool = False
) -> Callable[[Numbers], Call]:
    """Make self-attention with adapters on the named projections."""

    def build(numbers: Numbers) -> Call:
        x = numbers.normal(batch, length, width, leaf=True)
        qkv = numbers.normal(3 * width, width, scale=width**-0.5), numbers.normal(3 * width)
        out = numbers.normal(width, width, scale=width**-0.5), None
        adapters = {}
        for name in targets.split():
            a = numbers.normal(3, width, scale=width**-0.5, leaf=True)
            adapters[name] = LoraWeights(a, numbers.normal(width, 3, leaf=True), 0.5, "gelu")
        options: dict[str, Any] = {"adapters": adapters, "num_heads": heads}
        if masked:
            everything = torch.ones(1, 1, length, length, dtype=torch.bool, device=numbers.device)
            options["mask"] = everything.tril()
        leaves = (x, *(t for w in adapters.values() for t in (w.a, w.b)))
        return Call((x, qkv, out), options, leaves)

    return build


CASES = cases(
    (
        lora_linear,
        HALF,
        {
            "plain": linear((127,), 63, 101, 8),
            "gelu": linear((3, 63), 101, 64, 16, "gelu"),
            "silu": linear((2, 5), 32, 63, 4, "silu", bias=False),
            "relu": linear((5,), 63, 32, 1, "relu"),
            "aligned": linear((3, 45), 80, 136, 7, "gelu"),
            "one": linear((1,), 1, 1, 1, "gelu"),
            "no-batch": linear((0,), 63, 101, 8, "gelu"),
            "strided": linear((7, 3), 63, 101, 8, "gelu", view="strided"),
            "offset": linear((7,), 63, 101, 8, view="offset"),
            "decode": linear((1,), 64, 101, 8, "gelu", leaf=False),
            "decode-four": linear((2, 2), 2064, 33, 64, "silu", leaf=False),
            "decode-eight": linear((8,), 1100, 37, 9, "gelu", leaf=False),
            "decode-odd": linear((13,), 1027, 31, 16, "relu", bias=False, leaf=False),
            "decode-many": linear((16,), 528, 63, 5, "gelu", leaf=False),
            "decode-wide": linear((3,), 8, 4099, 2, leaf=False),
        },
    ),
    (
        lora_attention,
        HALF,
        {
            "q": attention(2, 63, 4, 64, "q"),
            "all": attention(1, 31, 3, 63, "q k v out"),
            "causal": attention(3, 17, 2, 32, "q", masked=True),
            "frozen": attention(2, 5, 1, 7, ""),
            "one": attention(1, 1, 1, 1, "q"),
        },
    ),
)
