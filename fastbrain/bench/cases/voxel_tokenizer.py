"""The voxel tokenizer against what one would write in plain torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ... import TokenGrid
from ...ops import tokenize_voxels
from .. import bare, work
from ..registry import OURS, Entry, Problem, Setting, compiled, farthest, ours, relative
from .tokenizing import Shape, Tokenizing, brain_mask

LIMITS = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 1e-2}


def problem(shape: Shape, setting: Setting) -> Problem:
    """Set one shape up."""
    t = Tokenizing(shape, setting)
    ways: dict[str, Callable[[], Tensor]] = {
        **ours(
            setting,
            lambda backend: t.fastbrain(t.volumes, backend),
            "tokenize_voxels",
            t.volumes,
            t.weight,
            t.bias,
            **t.options,
        ),
        "fastbrain_store": t.fastbrain_store,
        "store_linear": t.store_linear,
        "conv3d": t.conv3d,
        "crop_linear": t.crop_linear,
        "gather_linear": t.gather_linear,
    }
    if setting.compiled:
        ways["gather_linear_compiled"] = compiled(t.gather_linear)
    if setting.on_gpu:
        ways |= t.on_gpu()
    size = (shape.batch, t.grid.n_tokens, shape.features)
    upstream = torch.randn(*size, device=setting.device, dtype=setting.dtype)
    truth = t.truth(upstream)

    def error(name: str, got: tuple[Tensor, ...]) -> float:
        return farthest((t.kept(name, got[0])[:1], *got[1:]), truth)

    tokens, inner = shape.batch * t.grid.n_tokens, t.grid.patch_voxels
    rows = torch.randn(tokens, inner, device=setting.device, dtype=setting.dtype)
    weight, bias = t.weight.detach().flatten(1), t.bias.detach()
    plain = not (shape.backward or setting.on_gpu) and setting.dtype == torch.float32
    kernel = bare.tokenize_voxels(t.volumes, t.weight, t.bias, **t.options) if plain else None
    need = work.tokenize(
        tokens, inner, shape.features, weight.element_size(), backward=shape.backward
    )
    return Problem(
        providers={name: t.differentiated(name, way, upstream) for name, way in ways.items()},
        error=error,
        limit=LIMITS[setting.dtype] * (1 + shape.backward),
        flops=need.flops,
        traffic=need.traffic,
        kernels={} if kernel is None else {OURS: kernel},
        # it reads what the store holds, as this variant does
        against={"store_linear": "fastbrain_store"},
        # the matrix product alone, on patches already gathered
        ceilings={} if shape.backward else {"bare_gemm": lambda: F.linear(rows, weight, bias)},
        facts={
            **{"volume": list(shape.volume), "batch": shape.batch, "patch": shape.patch},
            **{"features": shape.features, "normalise": shape.normalise},
            **{"backward": shape.backward, "mask": t.mask_name},
            "kept": round(
                t.grid.n_tokens / int(np.prod([n // shape.patch for n in shape.volume])), 3
            ),
        },
    )


def overlapping(
    volume: tuple[int, int, int], kernel: int, stride: int, features: int, setting: Setting
) -> Problem:
    """Patches that overlap: the framework's convolution of the brain's box, kept sites only."""
    at: dict[str, Any] = {"generator": setting.generator(), "device": setting.device}
    mask, mask_name = brain_mask(volume)
    grid = TokenGrid.from_mask(mask, (kernel,) * 3, (stride,) * 3)
    volumes = torch.randint(-3000, 3000, (1, 1, *volume), dtype=torch.int16, **at)
    volumes *= torch.from_numpy(mask).to(setting.device)
    weight = (torch.randn(features, 1, *grid.kernel, **at) * 0.01).to(setting.dtype)
    coords = torch.from_numpy(grid.coords)
    low, high = coords.min(0).values, coords.max(0).values
    box: Any = tuple(
        slice(a * stride, b * stride + kernel)
        for a, b in zip(low.tolist(), high.tolist(), strict=True)
    )
    z, y, x = (coords - low).to(setting.device).unbind(1)

    def conv3d() -> Tensor:
        dense = F.conv3d(volumes[(..., *box)].to(setting.dtype), weight, stride=stride)
        return dense[:, :, z, y, x].transpose(1, 2)

    def fastbrain(backend: str | None) -> Tensor:
        return tokenize_voxels(volumes, weight, grid=grid, backend=backend)

    truth = tokenize_voxels(volumes, weight.double(), grid=grid, backend="reference")
    chosen = ours(setting, fastbrain, "tokenize_voxels", volumes, weight, grid=grid)
    ways = {**chosen, "conv3d": conv3d}
    return Problem(
        providers={name: torch.no_grad()(way) for name, way in ways.items()},
        error=lambda _name, out: relative(out, truth),
        limit=LIMITS[setting.dtype],
        flops=2.0 * grid.n_tokens * grid.patch_voxels * features,
        traffic=float(2 * volumes.numel() + weight.element_size() * grid.n_tokens * features),
        facts={
            **{"volume": list(volume), "patch": kernel, "stride": stride},
            **{"features": features, "mask": mask_name, "tokens": grid.n_tokens},
        },
    )


def _overlap(volume: tuple[int, int, int], kernel: int, stride: int, features: int) -> Entry:
    def build(setting: Setting) -> Problem:
        return overlapping(volume, kernel, stride, features, setting)

    return Entry("tokenize_voxels", f"overlap-k{kernel}-s{stride}", build, 15)


def _entry(case: str, shape: Shape, *, rounds: int = 31, gpu_only: bool = False) -> Entry:
    def build(setting: Setting) -> Problem:
        return problem(shape, setting)

    return Entry("tokenize_voxels", case, build, rounds, gpu_only)


PROVIDERS = (
    "fastbrain",
    "fastbrain_store",
    "conv3d",
    "crop_linear",
    "gather_linear",
    "store_linear",
)

ENTRIES = [
    _entry("big", Shape((96, 112, 96), 16, 8, 768), rounds=15),
    _entry("big-normalised", Shape((96, 112, 96), 16, 8, 768, normalise=True), rounds=15),
    _entry("big-backward", Shape((96, 112, 96), 16, 8, 768, backward=True), rounds=9),
    _entry("single", Shape((96, 112, 96), 1, 8, 768)),
    _entry("single-normalised", Shape((96, 112, 96), 1, 8, 768, normalise=True)),
    _entry("native", Shape((64, 64, 40), 1, 8, 768)),
    _entry("fine", Shape((96, 112, 96), 1, 4, 256)),
    _entry("coarse", Shape((96, 112, 96), 1, 16, 1024)),
    _overlap((64, 64, 40), 4, 2, 128),
    _overlap((64, 64, 40), 8, 4, 256),
    _overlap((64, 64, 40), 16, 8, 512),
    _entry("run", Shape((97, 115, 97), 300, 8, 768), gpu_only=True),
    _entry("run-backward", Shape((97, 115, 97), 64, 8, 768, backward=True), gpu_only=True),
    _entry("run-fine", Shape((97, 115, 97), 64, 4, 256), gpu_only=True),
]
