"""CUDA C++ backend of neighbourhood clustering, for small pools and batches.

Value and gradients are one cooperative launch, and nothing waits for the device, so a CUDA graph
can capture the op.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ... import _native
from .. import _cuda, _dispatch
from .._tensors import DTYPES, GPU_FLOATS, address
from . import autograd as entropy
from .checks import NORM_TOLERANCE, ClusteringProblem

# beyond these its time is that of reading the memory, which the kernels of Triton do better
MOST_SAMPLES, MOST_ROWS, MOST_CLASSES, WIDEST = 64, 20_000, 4096, 2048
# pools up to this size are another class of the race
_FEW_ROWS = 4096
_HALF = (torch.float16, torch.bfloat16)
# of the emulation, which has no multiprocessors: so few that a block has several tiles
_EMULATED_BLOCKS = 5

_library = torch.library.Library("fastbrain", "FRAGMENT")
_library.define(
    "neighborhood_clustering_cuda(Tensor features, Tensor prototypes, Tensor memory, "
    "Tensor indices, float temperature, float eps, bool grad) -> (Tensor, Tensor)"
)


def can_run(problem: ClusteringProblem) -> str | None:
    """Return None, or the reason why the CUDA kernel cannot run the checked problem."""
    features, prototypes, memory, _, temperature, _ = problem
    reason = _cuda.missing(features)
    if reason is not None:
        return reason
    if any(t.dtype not in GPU_FLOATS for t in (features, prototypes, memory)):
        return "a tensor is float64; it computes in float32"
    for name, size, most in (
        ("samples", features.shape[0], MOST_SAMPLES),
        ("rows of the memory", memory.shape[0], MOST_ROWS),
        ("prototypes", prototypes.shape[0], MOST_CLASSES),
        ("columns", features.shape[1], WIDEST),
    ):
        if size > most:
            return f"there are {size} {name}; it is meant for at most {most}"
    return entropy.objection(features, temperature)


def slower(problem: ClusteringProblem) -> str | None:
    """Return None, or that Triton is faster for the batch and the memory."""
    features, prototypes, memory, *_, variant = problem
    pool = f"{'few' if memory.shape[0] <= _FEW_ROWS else 'many'} rows"
    kind = f"{'half' if _narrow(features, prototypes, memory) else 'exact'} {variant}"
    shape = f"{kind} width {features.shape[1]} {pool}"
    return _cuda.slower("neighborhood_backend", shape, features)


def call(problem: ClusteringProblem) -> Tensor:
    """Compute the mean entropy on the GPU, with gradients for features and prototypes."""
    features, prototypes, memory, indices, temperature, variant = problem
    eps = entropy.DANCE_EPS if variant == "dance" else 0.0
    fixed = memory.detach(), indices, temperature, eps
    if _dispatch.any_gradient(features, prototypes):
        return _Clustering.apply(features, prototypes, *fixed)
    operator = torch.ops.fastbrain.neighborhood_clustering_cuda
    return operator(features, prototypes, *fixed, False)[0]


class _Clustering(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, prototypes: Tensor, *fixed: Any) -> Tensor:
        operator = torch.ops.fastbrain.neighborhood_clustering_cuda
        value, grads = operator(features, prototypes, *fixed, True)
        ctx.save_for_backward(grads)
        ctx.batch, ctx.dtypes = features.shape[0], (features.dtype, prototypes.dtype)
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        grads = grad * ctx.saved_tensors[0]
        rows = grads[: ctx.batch], grads[ctx.batch :]
        return *(g.to(dtype) for g, dtype in zip(rows, ctx.dtypes, strict=True)), *[None] * 4


def _narrow(*tensors: Tensor) -> bool:
    """Return whether products are on tensor cores, which then round nothing."""
    dtypes = {t.dtype for t in tensors}
    return len(dtypes) == 1 and not dtypes.isdisjoint(_HALF)


def _fake(
    features: Tensor, prototypes: Tensor, memory: Tensor, *arguments: Any
) -> tuple[Tensor, Tensor]:
    rows = features.shape[0] + prototypes.shape[0] if arguments[-1] else 0
    new = features.new_empty
    return new((), dtype=torch.float32), new(rows, features.shape[1], dtype=torch.float32)


def _entropy(
    features: Tensor,
    prototypes: Tensor,
    memory: Tensor,
    indices: Tensor,
    temperature: float,
    eps: float,
    grad: bool,
) -> tuple[Tensor, Tensor]:
    from ...kernels import tables

    value, grads = _fake(features, prototypes, memory, grad)
    narrow = _narrow(features, prototypes, memory)
    if not narrow:
        features, prototypes = features.float(), prototypes.float()
    features, prototypes, indices = (t.contiguous() for t in (features, prototypes, indices))
    if memory.stride(1) != 1 or memory.stride(0) < memory.shape[1]:
        memory = memory.contiguous()
    sizes = (features.shape[0], prototypes.shape[0], *memory.shape)
    blocks = _EMULATED_BLOCKS if _cuda.EMULATED else tables.multiprocessors(memory)
    common = {"sizes": sizes, "tensor_cores": narrow, "eps": eps, "blocks": blocks}
    count = _native.neighborhood_clustering_cuda_scratch(**common, grad=grad)
    scratch = features.new_empty(count, dtype=torch.float32)
    _cuda.launch(
        "neighborhood_clustering_cuda",
        memory,
        features=address(features),
        prototypes=address(prototypes),
        memory=address(memory),
        indices=address(indices),
        scratch=address(scratch),
        value=address(value),
        grads=address(grads) if grad else 0,
        type=DTYPES[memory.dtype],
        step=memory.stride(0) if memory.shape[0] > 1 else memory.shape[1],
        inv_temperature=1 / temperature,
        tolerance=NORM_TOLERANCE,
        **common,
    )
    return value, grads


for _key in _cuda.KEYS:
    _library.impl("neighborhood_clustering_cuda", _entropy, _key)
torch.library.register_fake("fastbrain::neighborhood_clustering_cuda", _fake, lib=_library)
