"""Cases of every op, shared by the tests, the benchmarks and ``fastbrain selftest``.

Sizes are odd on purpose: primes, one, nothing, views with strides and offsets.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from . import _case_inputs as inputs
from . import _dispatch
from ._case_inputs import Call, Numbers
from .lora import lora_attention, lora_linear
from .neighborhood import entropy_separation, memory_update_, neighborhood_clustering
from .voxel_tokenizer import tokenize_voxels
from .vq import vq_lookup, vq_update_

_HALF = (torch.float32, torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class Case:
    """One set of inputs of one op.

    Parameters
    ----------
    op, name : str
    function : callable
        The public op.
    build : callable
        Numbers to :class:`Call`.
    dtypes : tuple of dtype
        Working precisions the op is meant for.
    """

    op: str
    name: str
    function: Callable[..., Any]
    build: Callable[[Numbers], Call]
    dtypes: tuple[torch.dtype, ...] = (torch.float32,)

    def inputs(
        self,
        *,
        seed: int = 0,
        dtype: torch.dtype = torch.float32,
        device: str | torch.device = "cpu",
        truth: bool = False,
    ) -> Call:
        """Build the arguments in `dtype`, or the same numbers in float64 for the truth."""
        held = torch.float64 if truth else dtype
        generator = torch.Generator().manual_seed(seed)
        return self.build(Numbers(generator, dtype, held, torch.device(device)))

    def outcome(self, call: Call, *, backend: str | None = None, seed: int = 0) -> list[Tensor]:
        """Run the op; what it returns or writes, then its gradients for a fixed random upstream."""
        with nullcontext() if backend is None else _dispatch.backend(backend):
            result = self.function(*call.args, **call.options)
        if call.changed:
            return [t.detach().clone() for t in call.changed]
        if not call.leaves:
            return [result]
        upstream = torch.randn(
            result.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
        ).to(result)
        return [result.detach(), *torch.autograd.grad(result, call.leaves, upstream)]

    @property
    def id(self) -> str:
        """Readable name, ``op-case``."""
        return f"{self.op}-{self.name}"


def all_cases() -> list[Case]:
    """Every case of every op, in a fixed order."""
    small, cube = (13, 11, 9), (4, 4, 4)
    table: list[tuple[Callable[..., Any], tuple[torch.dtype, ...], dict[str, Any]]] = [
        (
            tokenize_voxels,
            _HALF,
            {
                "odd": inputs.tokenizer(small, (3, 3, 3), batch=2, frames=1, features=63),
                "primes": inputs.tokenizer((17, 16, 19), cube, batch=3, frames=3, features=101),
                "eight": inputs.tokenizer((17, 16, 24), (8, 8, 8), batch=2, frames=2, features=127),
                "sixteen": inputs.tokenizer(
                    (32, 16, 17), (16, 16, 16), batch=1, frames=1, features=33
                ),
                # most rows of a patch hold no brain at all and are skipped
                "sparse": inputs.tokenizer(
                    (33, 24, 17), (8, 8, 8), batch=5, frames=3, features=33, share=0.01
                ),
                "sparse-sixteen": inputs.tokenizer(
                    (32, 32, 17), (16, 16, 16), batch=17, frames=1, features=65, share=0.001
                ),
                "one": inputs.tokenizer((1, 1, 1), (1, 1, 1), batch=1, frames=1, features=1),
                "no-batch": inputs.tokenizer(small, (3, 3, 3), batch=0, frames=1, features=5),
                "packed": inputs.tokenizer(
                    small, cube, batch=2, frames=2, features=64, packed=True, statistics="packed"
                ),
                "packed-data": inputs.tokenizer(
                    small, cube, batch=2, frames=1, features=65, packed=True, view="offset"
                ),
                "raw": inputs.tokenizer(small, cube, batch=1, frames=1, features=32, statistics=""),
                "overlapping": inputs.tokenizer(
                    small,
                    (3, 4, 5),
                    (2, 3, 3),
                    batch=2,
                    frames=2,
                    features=7,
                    statistics="packed",
                ),
                "wide": inputs.tokenizer((5, 6, 70), (1, 2, 64), batch=1, frames=1, features=63),
                "floats": inputs.tokenizer(
                    small, cube, batch=2, frames=1, features=31, stored=torch.float32
                ),
                "strided": inputs.tokenizer(
                    small, cube, batch=2, frames=1, features=31, view="strided"
                ),
                "offset": inputs.tokenizer(
                    small, cube, batch=2, frames=1, features=31, view="offset"
                ),
            },
        ),
        (
            lora_linear,
            _HALF,
            {
                "plain": inputs.linear((127,), 63, 101, 8),
                "gelu": inputs.linear((3, 63), 101, 64, 16, "gelu"),
                "silu": inputs.linear((2, 5), 32, 63, 4, "silu", bias=False),
                "relu": inputs.linear((5,), 63, 32, 1, "relu"),
                "one": inputs.linear((1,), 1, 1, 1, "gelu"),
                "no-batch": inputs.linear((0,), 63, 101, 8, "gelu"),
                "strided": inputs.linear((7, 3), 63, 101, 8, "gelu", view="strided"),
                "offset": inputs.linear((7,), 63, 101, 8, view="offset"),
            },
        ),
        (
            lora_attention,
            _HALF,
            {
                "q": inputs.attention(2, 63, 4, 64, "q"),
                "all": inputs.attention(1, 31, 3, 63, "q k v out"),
                "causal": inputs.attention(3, 17, 2, 32, "q", masked=True),
                "frozen": inputs.attention(2, 5, 1, 7, ""),
                "one": inputs.attention(1, 1, 1, 1, "q"),
            },
        ),
        (
            neighborhood_clustering,
            (torch.float32,),
            {
                "dance": inputs.clustering(36, 10, 127, 63, "dance"),
                "paper": inputs.clustering(36, 10, 127, 63, "paper"),
                "paper-warm": inputs.clustering(4, 101, 63, 32, "paper", 0.5),
                "dance-one": inputs.clustering(1, 2, 1, 5, "dance"),
                "paper-one": inputs.clustering(1, 1, 2, 1, "paper"),
            },
        ),
        (
            memory_update_,
            _HALF,
            {
                "replace": inputs.memory(36, 127, 63, 0.0),
                "average": inputs.memory(5, 101, 32, 0.9),
                "no-batch": inputs.memory(0, 7, 5, 0.5),
            },
        ),
        (
            entropy_separation,
            (torch.float32,),
            {"wide": inputs.separation(63, 101, 0.5), "none": inputs.separation(31, 10, 0.0)},
        ),
        (
            vq_lookup,
            _HALF,
            {
                "euclidean": inputs.lookup((127,), 101, 63),
                "cosine": inputs.lookup((3, 31), 63, 17, "cosine"),
                "masked": inputs.lookup((2, 63), 31, 8, masked=True),
                "ties": inputs.lookup((127,), 63, 8, ties=True),
                "one": inputs.lookup((1,), 1, 1),
                "no-batch": inputs.lookup((0,), 7, 5),
            },
        ),
        (
            vq_update_,
            (torch.float32,),
            {
                "plain": inputs.update(127, 31, 63),
                "masked": inputs.update(101, 63, 8, masked=True),
                "no-batch": inputs.update(0, 7, 5),
            },
        ),
    ]
    return [
        Case(function.__name__, name, function, build, dtypes)
        for function, dtypes, builds in table
        for name, build in builds.items()
    ]
