"""Neighbourhood clustering and its memory, against log-softmax and whole-pool renormalisation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ...ops import memory_update_, neighborhood_clustering
from .. import work
from ..registry import Entry, Problem, Setting, compiled, farthest, ours, relative

TEMPERATURE = 0.05
# training in half precision scales the loss, or gradients of a large pool would underflow
LOSS_SCALE = {torch.float16: 2.0**14}


def eager(features: Tensor, prototypes: Tensor, memory: Tensor, indices: Tensor) -> Tensor:
    """Mean entropy with the own column masked, as one would write it with care."""
    scores = torch.cat([features @ memory.T, features @ prototypes.T], dim=1) / TEMPERATURE
    # half-precision logits would lose the neighbours
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    scores = scores.scatter(1, indices[:, None], float("-inf"))
    log_p = scores.log_softmax(dim=1)
    return -(log_p.exp() * log_p.clamp_min(-1e30)).sum() / len(features)


def eager_dance(features: Tensor, prototypes: Tensor, memory: Tensor, indices: Tensor) -> Tensor:
    """The three blocks of DANCE, those of the batch itself masked, 1e-5 inside the logarithm."""
    blocks = [features @ prototypes.T, features @ memory.T, features @ features.T]
    scores = torch.cat(blocks, dim=1) / TEMPERATURE
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    batch = len(features)
    own = torch.zeros(len(memory), dtype=torch.bool, device=scores.device)
    own = own.index_fill(0, indices, True).expand(batch, -1)
    never = torch.zeros(batch, len(prototypes), dtype=torch.bool, device=scores.device)
    diagonal = torch.eye(batch, dtype=torch.bool, device=scores.device)
    hidden = torch.cat([never, own, diagonal], dim=1)
    p = scores.masked_fill(hidden, float("-inf")).softmax(dim=1)
    return -(p * torch.log(p + 1e-5)).sum() / batch


def problem(
    batch: int, size: int, width: int, classes: int, variant: str, setting: Setting
) -> Problem:
    """A step: the loss and its gradients for `batch` features and a pool of `size`."""
    at: dict[str, Any] = {"generator": setting.generator(), "device": setting.device}

    def unit(rows: int) -> Tensor:
        return F.normalize(torch.randn(rows, width, **at), dim=1).to(setting.dtype)

    features, prototypes, memory = unit(batch), unit(classes), unit(size)
    indices = torch.randperm(size, **at)[:batch]
    leaves = features.requires_grad_(), prototypes.requires_grad_()
    arguments = (features, prototypes, memory, indices)
    options: dict[str, Any] = {"temperature": TEMPERATURE, "variant": variant}
    plain: Callable[..., Tensor] = eager if variant == "paper" else eager_dance

    scale = torch.tensor(LOSS_SCALE.get(setting.dtype, 1.0), device=setting.device)

    def step(loss: Callable[[], Tensor]) -> Callable[[], tuple[Tensor, ...]]:
        return lambda: torch.autograd.grad(loss(), leaves, scale)

    chosen = ours(
        setting,
        lambda backend: neighborhood_clustering(*arguments, **options, backend=backend),
        "neighborhood_clustering",
        *arguments,
        **options,
    )
    ways: dict[str, Callable[[], Tensor]] = {**chosen, "eager": lambda: plain(*arguments)}
    if setting.compiled:
        fused = compiled(plain)
        ways["eager_compiled"] = lambda: fused(*arguments)
    some = [t.detach().double().requires_grad_() for t in leaves]
    truth = torch.autograd.grad(plain(*some, memory.double(), indices), some, scale.double())
    scores = torch.randn(batch, size, device=setting.device, dtype=setting.dtype)

    need = work.clustering(batch, size, width, memory.element_size())

    def products() -> Tensor:
        torch.mm(features.detach(), memory.T, out=scores)
        return scores @ memory

    return Problem(
        providers={name: step(way) for name, way in ways.items()},
        # both gradients
        error=lambda _name, got: farthest(got, truth),
        limit=1e-4 if setting.dtype == torch.float32 else 5e-2,
        flops=need.flops,
        traffic=need.traffic,
        # forward and backward product alone, with nothing in between
        ceilings={"two_gemms": products},
        facts={
            "batch": batch,
            "pool": size,
            "width": width,
            "classes": classes,
            "variant": variant,
        },
    )


def update(batch: int, size: int, width: int, setting: Setting) -> Problem:
    """Moving `batch` rows of a pool, against renormalising all of it as DANCE does."""
    at: dict[str, Any] = {"generator": setting.generator(), "device": setting.device}
    memory = F.normalize(torch.randn(size, width, **at), dim=1).to(setting.dtype)
    features = F.normalize(torch.randn(batch, width, **at), dim=1).to(memory)
    indices = torch.randperm(size, **at)[:batch]

    need = work.moving_rows(batch, width, memory.element_size())

    def touched() -> Tensor:
        memory_update_(memory, features, indices, momentum=0.0)
        return memory

    def whole() -> Tensor:
        memory[indices] = features
        memory.copy_(F.normalize(memory, dim=1))
        return memory

    return Problem(
        providers={"fastbrain": touched, "whole_pool": whole},
        error=lambda _name, got: relative(got[indices], features),
        limit=1e-5 if setting.dtype == torch.float32 else 1e-2,
        flops=need.flops,
        traffic=need.traffic,
        facts={"batch": batch, "pool": size, "width": width},
    )


def _clustering(
    batch: int,
    size: int,
    width: int,
    variant: str = "paper",
    *,
    classes: int = 10,
    rounds: int,
    gpu_only: bool = False,
) -> Entry:
    def build(setting: Setting) -> Problem:
        return problem(batch, size, width, classes, variant, setting)

    case = f"B{batch}-N{size}-D{width}" + ("" if variant == "paper" else f"-{variant}")
    return Entry("neighborhood_clustering", case, build, rounds, gpu_only)


PROVIDERS = ("fastbrain", "eager", "whole_pool")

ENTRIES = [
    _clustering(64, 21_600, 256, classes=180, rounds=21),
    _clustering(64, 21_600, 768, classes=180, rounds=11),
    _clustering(64, 21_600, 256, "dance", classes=180, rounds=21),
    _clustering(64, 21_600, 768, "dance", classes=180, rounds=11),
    _clustering(8, 21_600, 256, rounds=31),
    _clustering(8, 200, 256, rounds=101),
    _clustering(256, 1_000, 2048, rounds=21),
    _clustering(36, 2_000, 2048, rounds=31),
    _clustering(36, 21_600, 2048, rounds=7),
    _clustering(256, 21_600, 256, rounds=7),
    _clustering(64, 262_144, 256, rounds=5),
    _clustering(64, 1_000_000, 256, rounds=21, gpu_only=True),
    _clustering(64, 1_000_000, 2048, rounds=11, gpu_only=True),
    Entry("memory_update_", "B64-N1000000-D256", lambda s: update(64, 1_000_000, 256, s), 5),
]
