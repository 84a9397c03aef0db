"""Compile the kernels of a model before the first volume arrives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from time import perf_counter

import torch
import torch.nn.functional as F
from torch import Tensor

from .. import ops
from .._arguments import checked
from ..errors import InputError
from .model import LLM4Brain

# a memory bank of this many rows compiles the same kernels as one with a million
_POOL = 4096


@dataclass(frozen=True)
class Warmed:
    """Timings and backends of one warmed-up call.

    Parameters
    ----------
    what : str
        ``prefix`` (voxels to input embeddings), ``step`` (with gradients) or ``clustering``.
    batch : int
    seconds : float
        Duration of the first call, mostly compilation.
    again_seconds : float
        Duration of the second call.
    backends : dict
        Backends that ran, by op.
    graph : bool
        Whether the call was captured into a CUDA graph and replayed.
    """

    what: str
    batch: int
    seconds: float
    again_seconds: float
    backends: dict[str, tuple[str, ...]]
    graph: bool


@checked
def warmup(
    model: LLM4Brain,
    *,
    batch_sizes: Sequence[int] = (1,),
    packed: bool = True,
    training: bool = False,
    capture: bool | None = None,
) -> list[Warmed]:
    """Run every kernel of a model once for each batch size, so that no later call compiles.

    Triton compiles a kernel at the first call with given types and shapes, which takes seconds; a
    real-time loop cannot wait that long. The model itself does not change, only the kernel caches.

    Parameters
    ----------
    model : LLM4Brain
        On the device and in the precision of later use.
    batch_sizes : sequence of int
    packed : bool
        Whether windows have the layout of the store, (B, F, n_tokens, P), or (B, F, Z, Y, X).
    training : bool
        Also compile the gradients and, if the model has prototypes, neighbourhood clustering.
    capture : bool, optional
        Capture the computation of the prefix in a CUDA graph and replay it, which shows that it
        never synchronises with the host. Default: true on a GPU.

    Returns
    -------
    list of Warmed

    Raises
    ------
    InputError
        A batch size is below one, or `capture` is true and the model is not on a GPU.
    """
    on_gpu = model.device.type == "cuda"
    if any(size < 1 for size in batch_sizes):
        raise InputError(f"warmup: batch_sizes must be 1 or more, got {tuple(batch_sizes)}.")
    if capture and not on_gpu:
        raise InputError(f"warmup: capture must be on a GPU, got {model.device}. Leave it out.")
    warmed = []
    for batch in batch_sizes:
        voxels = _window(model, batch, packed)
        subjects = None if model.subjects is None else [model.subjects.people[0]] * batch
        read = partial(model.prefix, voxels, subjects)
        with torch.no_grad():
            done = _twice(model, read)
        if capture is None:
            capture = on_gpu
        if capture:
            _capture(read)
        warmed.append(Warmed("prefix", batch, *done, graph=capture))
        if training:
            done = _twice(model, partial(_gradients, model, read))
            warmed.append(Warmed("step", batch, *done, graph=False))
            if model.prototypes is not None:
                done = _twice(model, partial(_clustering, model, batch))
                warmed.append(Warmed("clustering", batch, *done, graph=False))
    return warmed


def _window(model: LLM4Brain, batch: int, packed: bool) -> Tensor:
    grid = model.grid
    shape = (grid.n_tokens, grid.patch_voxels) if packed else grid.shape
    size = (batch, model.config.frames, *shape)
    return torch.zeros(size, dtype=torch.int16, device=model.device)


def _twice(
    model: LLM4Brain, call: Callable[[], object]
) -> tuple[float, float, dict[str, tuple[str, ...]]]:
    times = []
    with ops.observed() as ran:
        for _ in range(2):
            start = perf_counter()
            call()
            if model.device.type == "cuda":
                torch.cuda.synchronize(model.device)
            times.append(perf_counter() - start)
    backends = {
        op: tuple(sorted({backend for name, backend in ran if name == op}))
        for op in dict.fromkeys(name for name, _ in ran)
    }
    return times[0], times[1], backends


@torch.no_grad()
def _capture(call: Callable[[], object]) -> None:
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            call()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    graph.replay()
    torch.cuda.synchronize()


def _gradients(model: LLM4Brain, read: Callable[[], Tensor]) -> None:
    leaves = [p for p in model.parameters() if p.requires_grad]
    loss = read().float().square().mean()
    torch.autograd.grad(loss, leaves, allow_unused=True)


def _clustering(model: LLM4Brain, batch: int) -> None:
    assert model.prototypes is not None
    width = model.prototypes.shape[1]
    features = F.normalize(torch.randn(batch, width, device=model.device), dim=1).requires_grad_()
    memory = F.normalize(torch.randn(max(_POOL, batch), width, device=model.device), dim=1)
    rows = torch.arange(batch, device=model.device)
    for variant in ("paper", "dance"):
        loss = ops.neighborhood_clustering(
            features, model.unit_prototypes(), memory, rows, temperature=0.05, variant=variant
        )
        torch.autograd.grad(loss, (features, model.prototypes))
    ops.memory_update_(memory, features.detach(), rows, momentum=0.0)
