"""The nearest code and a whole quantiser step, against what people use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ...ops import VQState, pack_codebook, vq_lookup, vq_replace_dead_, vq_update_
from .. import bare, work
from ..registry import OURS, Entry, Problem, Setting, compiled, ours


def worse(x: Tensor, codes: Tensor, got: Tensor) -> float:
    """Share of rows with a code that is farther than the nearest by more than rounding."""
    x, codes = x[:512].double(), codes.double()
    distances = torch.cdist(x, codes)
    chosen = distances.gather(1, got.reshape(-1)[:512, None].long().to(x.device))[:, 0]
    return float((chosen > distances.min(dim=1).values * (1 + 1e-4)).double().mean())


def problem(rows: int, size: int, width: int, setting: Setting) -> Problem:
    """`rows` vectors of `width` numbers and a codebook of `size`."""
    at: dict[str, Any] = {"generator": setting.generator(), "device": setting.device}
    x, codes = (torch.randn(n, width, **at).to(setting.dtype) for n in (rows, size))
    packed = pack_codebook(codes)
    squares = codes.float().square().sum(dim=1).to(setting.dtype)

    def addmm() -> Tensor:
        return torch.addmm(squares, x, codes.T, alpha=-2).argmin(dim=1)

    def addmm_first() -> Tensor:
        lengths = changing.square().sum(dim=1)
        return torch.addmm(lengths, x, changing.T, alpha=-2).argmin(dim=1)

    changing = codes.clone()

    def first() -> Tensor:
        torch.autograd.graph.increment_version(changing)
        return vq_lookup(x, changing)

    ways: dict[str, Callable[[], Any]] = {
        **ours(
            setting, lambda backend: vq_lookup(x, packed, backend=backend), "vq_lookup", x, packed
        ),
        # a codebook that comes again, and one that has changed each time
        "fastbrain_unpacked": lambda: vq_lookup(x, codes),
        "fastbrain_first": first,
        "addmm_argmin": addmm,
        # of such a codebook, the squares are new as well
        "addmm_argmin_first": addmm_first,
        "cdist_argmin": lambda: torch.cdist(x, codes).argmin(dim=1),
    }
    if setting.compiled:
        ways["addmm_argmin_compiled"] = compiled(addmm)
    need = work.lookup(rows, size, width, x.element_size())
    bound = not setting.on_gpu and setting.dtype == torch.float32
    out = torch.empty(rows, size, device=setting.device, dtype=setting.dtype)
    return Problem(
        providers=ways,
        error=lambda _name, got: worse(x, codes, got),
        # half precision may take one of two codes that it cannot tell apart
        limit=0.0 if setting.dtype == torch.float32 else 0.05,
        flops=need.flops,
        traffic=need.traffic,
        ceilings={"bare_gemm": lambda: torch.mm(x, codes.T, out=out)},
        kernels={OURS: bare.vq_lookup(x, packed)} if packed.panels is not None and bound else {},
        inputs={"x": x, "codes": codes},
        facts={"rows": rows, "codes": size, "width": width},
    )


def _entry(rows: int, size: int, width: int, *, rounds: int, gpu_only: bool = False) -> Entry:
    def build(setting: Setting) -> Problem:
        return problem(rows, size, width, setting)

    return Entry("vq_lookup", f"{rows}x{size}x{width}", build, rounds, gpu_only)


DECAY, DEAD = 0.99, 0.5


def step_problem(rows: int, size: int, width: int, setting: Setting) -> Problem:
    """Assignment, moving averages and dead codes of one batch, in float32 as the codebook is."""
    at: dict[str, Any] = {"generator": setting.generator(), "device": setting.device}
    x, codes = (torch.randn(n, width, **at) for n in (rows, size))
    state = VQState.from_codebook(codes)

    def step() -> Tensor:
        indices = vq_lookup(x, state.codebook)
        vq_update_(state, x, indices, decay=DECAY)
        vq_replace_dead_(state, x, threshold=DEAD)
        return indices

    ways: dict[str, Callable[[], Any]] = {"fastbrain": step}
    need = work.quantiser_step(rows, size, width, x.element_size())
    return Problem(
        providers={name: torch.no_grad()(way) for name, way in ways.items()},
        # the first step of each is from the same codebook: later ones move it
        error=lambda _name, got: worse(x, codes, got),
        limit=0.0,
        flops=need.flops,
        traffic=need.traffic,
        inputs={"x": x, "codes": codes, "decay": DECAY, "dead": DEAD},
        facts={"rows": rows, "codes": size, "width": width},
    )


def _step(rows: int, size: int, width: int, *, rounds: int) -> Entry:
    def build(setting: Setting) -> Problem:
        return step_problem(rows, size, width, setting)

    return Entry("vq_step", f"{rows}x{size}x{width}", build, rounds, precision="float32")


PROVIDERS = (
    "fastbrain",
    "fastbrain_unpacked",
    "fastbrain_first",
    "addmm_argmin",
    "addmm_argmin_first",
    "cdist_argmin",
    "faiss_flat",
    "vector_quantize_pytorch",
)

ENTRIES = [
    _entry(32256, 1024, 64, rounds=11),
    _entry(32256, 8192, 64, rounds=5),
    _entry(4096, 65536, 32, rounds=5),
    _entry(8192, 8192, 256, rounds=7),
    _entry(64, 8192, 256, rounds=31),
    _entry(4, 8192, 256, rounds=101),
    _entry(1, 8192, 256, rounds=101),
    _entry(64, 1024, 64, rounds=101),
    _entry(1, 1024, 64, rounds=101),
    _step(16384, 8192, 128, rounds=3),
    _entry(213_000, 8192, 64, rounds=21, gpu_only=True),
]
