"""C++ backend of neighbourhood clustering, with its registration."""

from __future__ import annotations

import torch
from torch import Tensor

from ... import _native
from .._tensors import DTYPES, address
from . import autograd as entropy
from .checks import ClusteringProblem, not_unit

# Size of the similarities that the kernel keeps (neighborhood.cpp), and sizes above which computing
# them twice costs more than storing them. Two cores of an EPYC 9004, forward and backward, time
# of eager over ours:
# 256 x 20000 similarities of 256, 768 and 2048 elements 1.10, 0.83 and 0.69; 64 x 60000 of 2048
# elements 0.98; "paper", which needs them once, 1.86, 1.26 and 0.98. In float64 the limit is lower:
# time of the reference over ours for 64, 96 and 256 x 10000 to 20000 similarities of 768 elements
# 1.06, 0.82 and 0.72, for 64 x 30000 of 1536 elements 0.83; "paper" 1.26 and, for 256, 1.02.
_KEPT_BYTES = 6 << 20
_WIDE = 512
_MANY = {torch.float32: 128, torch.float64: 32}
# With wide features and a small memory the time is that of the products: 256 x 1000 similarities of
# 2048 elements 0.66 to 0.94 in "paper", the reference 0.88; 64 x 1000 of them 1.23. In float64 0.66
# and 1.23.
_WIDEST = 1024

_library = torch.library.Library("fastbrain", "FRAGMENT")
_library.define("neighborhood_clustering_cpu" + entropy.SCHEMA)


def can_run(problem: ClusteringProblem) -> str | None:
    """Return None, or the reason why the C++ kernel cannot run the checked problem."""
    features, memory = problem.features, problem.memory
    if features.device.type != "cpu":
        return f"the tensors are on {features.device}"
    batch, wide = features.shape
    precision = entropy.precision_of(features)
    kept = batch * len(memory) * precision.itemsize <= _KEPT_BYTES
    if problem.variant == "dance" and not kept and batch > _MANY[precision] and wide > _WIDE:
        return (
            f"{batch} samples of {wide} elements against {len(memory)} rows need the "
            "similarities twice; the reference, which holds them all, is faster"
        )
    if kept and batch > 128 and wide > _WIDEST:
        return (
            f"{batch} samples of {wide} elements against {len(memory)} rows are little but "
            "matrix products; the reference is faster"
        )
    return entropy.objection(features, problem.temperature)


def call(problem: ClusteringProblem) -> Tensor:
    """Compute the mean entropy on the CPU, with gradients for features and prototypes."""
    return entropy.clustering(torch.ops.fastbrain.neighborhood_clustering_cpu, problem)


def _entropy(
    features: Tensor,
    others: Tensor,
    memory: Tensor,
    indices: Tensor,
    temperature: float,
    eps: float,
    own: int,
    grad: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    features, others, indices = features.contiguous(), others.contiguous(), indices.contiguous()
    if memory.stride(1) != 1 or memory.stride(0) < memory.shape[1]:
        memory = memory.contiguous()
    out = entropy.fake(features, others, memory, indices, temperature, eps, own, grad)
    double = features.dtype == torch.float64
    run = _native.neighborhood_entropy_double if double else _native.neighborhood_entropy
    refused = run(
        features=address(features),
        memory=address(memory),
        stored=DTYPES[memory.dtype],
        indices=address(indices),
        others=address(others),
        own=own if eps else -1,
        sizes=(*features.shape, memory.shape[0], memory.stride(0), others.shape[0]),
        inv_temperature=1 / temperature,
        eps=eps,
        entropy=address(out[0]),
        grad_features=address(out[1]) if grad else 0,
        grad_others=address(out[2]) if grad else 0,
        threads=torch.get_num_threads(),
    )
    if refused >= 0:
        raise not_unit(refused, float(memory[refused].double().norm()))
    return out


_library.impl("neighborhood_clustering_cpu", _entropy, "CPU")
torch.library.register_fake("fastbrain::neighborhood_clustering_cpu", entropy.fake, lib=_library)
