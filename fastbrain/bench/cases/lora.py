"""Low-rank adapted layers against PEFT, plain torch and the frozen layer alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ...ops import lora_linear
from ...ops.lora.cpu_decode import MOST_ROWS
from .. import bare, work
from ..registry import OURS, Entry, Problem, Setting, compiled, farthest, ours

LIMITS = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 1e-2}


def problem(
    rows: int, d_in: int, d_out: int, rank: int, activation: str | None, step: bool, s: Setting
) -> Problem:
    """`rows` inputs through one layer; `step` with the gradients of x, A and B."""
    at: dict[str, Any] = {"generator": s.generator(), "device": s.device}

    def drawn(*shape: int) -> Tensor:
        return (torch.randn(*shape, **at) * shape[-1] ** -0.5).to(s.dtype)

    x, weight, bias = drawn(rows, d_in), drawn(d_out, d_in), drawn(d_out)
    a, b = drawn(rank, d_in), drawn(d_out, rank)
    leaves = (x, a, b)
    for leaf in leaves if step else ():
        leaf.requires_grad_()
    act: Callable[[Tensor], Tensor] = F.gelu if activation == "gelu" else lambda t: t

    def eager() -> Tensor:
        return F.linear(x, weight, bias) + F.linear(act(F.linear(x, a)), b)

    def addmm() -> Tensor:
        return torch.addmm(F.linear(x, weight, bias), act(F.linear(x, a)), b.T)

    def addmm_in_place() -> Tensor:
        return F.linear(x, weight, bias).addmm_(act(F.linear(x, a)), b.T)

    ways: dict[str, Callable[[], Tensor]] = {
        **ours(
            s,
            lambda backend: lora_linear(
                x, weight, bias, a, b, activation=activation, backend=backend
            ),
            "lora_linear",
            *(x, weight, bias, a, b),
            activation=activation,
        ),
        "eager": eager,
        "addmm": addmm,
        "addmm_in_place": addmm_in_place,
    }
    if s.compiled:
        ways["eager_compiled"] = compiled(eager)
    upstream = drawn(rows, d_out)

    def stepped(way: Callable[[], Tensor]) -> Callable[[], tuple[Tensor, ...]]:
        if not step:
            return lambda: (way(),)  # nothing requires a gradient

        def run() -> tuple[Tensor, ...]:
            out = way()
            return out, *torch.autograd.grad(out, leaves, upstream)

        return run

    wide = [t.detach().double().requires_grad_(step) for t in (x, weight, bias, a, b)]
    out = F.linear(wide[0], wide[1], wide[2]) + act(wide[0] @ wide[3].T) @ wide[4].T
    truth: tuple[Tensor, ...] = (out.detach(),)
    if step:
        truth += torch.autograd.grad(out, (wide[0], wide[3], wide[4]), upstream.double())
    del out, wide
    need = work.lora(rows, d_in, d_out, rank, weight.element_size(), step=step)
    few = not (step or s.on_gpu) and rows <= MOST_ROWS.get(s.dtype, 0)
    kernel = bare.lora_linear(x, weight, bias, a, b, activation) if few else None
    return Problem(
        providers={name: stepped(way) for name, way in ways.items()},
        error=lambda _name, got: farthest(got, truth),
        # a gradient passes through three roundings where the answer passes through one
        limit=LIMITS[s.dtype] * (2 if step else 1),
        flops=need.flops,
        traffic=need.traffic,
        kernels={OURS: lambda: (kernel(),)} if kernel is not None else {},
        inputs={
            **{"x": x, "weight": weight, "bias": bias, "a": a, "b": b},
            **{"activation": activation, "upstream": upstream if step else None},
        },
        # the frozen layer without its adapter
        ceilings={} if step else {"frozen": lambda: F.linear(x, weight, bias)},
        facts={
            **{"rows": rows, "d_in": d_in, "d_out": d_out, "rank": rank},
            **{"activation": activation, "backward": step},
        },
    )


def _entry(
    rows: int,
    d_in: int,
    d_out: int,
    rank: int,
    activation: str | None = None,
    *,
    step: bool = False,
    rounds: int = 21,
    gpu_only: bool = False,
) -> Entry:
    def build(setting: Setting) -> Problem:
        return problem(rows, d_in, d_out, rank, activation, step, setting)

    case = f"M{rows}-{d_in}x{d_out}-r{rank}" + (f"-{activation}" if activation else "")
    return Entry("lora_linear", case + ("-step" if step else ""), build, rounds, gpu_only)


PROVIDERS = ("fastbrain", "eager", "addmm", "addmm_in_place", "peft")

ENTRIES = [
    _entry(1, 64, 64, 8, rounds=1001),
    _entry(1, 256, 256, 8, rounds=1001),
    _entry(1, 768, 768, 8, rounds=201),
    _entry(1, 4096, 4096, 16, rounds=51),
    _entry(8, 768, 768, 8, rounds=101),
    _entry(8, 4096, 4096, 16, rounds=21),
    _entry(16, 4096, 4096, 16, rounds=21),
    _entry(16, 768, 768, 8, rounds=101),
    _entry(64, 768, 768, 8, rounds=101),
    _entry(64, 768, 3072, 64, "gelu", rounds=51),
    _entry(512, 1024, 1024, 16),
    _entry(2048, 768, 768, 8),
    _entry(2048, 4096, 4096, 16, rounds=5),
    _entry(64, 768, 768, 8, step=True, rounds=51),
    _entry(512, 1024, 1024, 16, step=True),
    _entry(2048, 768, 768, 64, step=True),
    _entry(16_384, 768, 3072, 16, gpu_only=True),
    _entry(16_384, 768, 3072, 16, "gelu", step=True, gpu_only=True),
    _entry(1, 4096, 4096, 16, "gelu", rounds=101, gpu_only=True),
]
