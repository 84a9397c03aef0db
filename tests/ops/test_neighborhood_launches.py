"""How many kernels of the GPU one call of neighbourhood clustering launches."""

from __future__ import annotations

import subprocess
import sys

import pytest
from interpreted import interpreted

# every launch of Triton, and every operation of PyTorch that would be a kernel on a GPU
COUNTED = """
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from fastbrain.kernels import launch as launching
from fastbrain.ops.neighborhood import triton
from fastbrain.ops.neighborhood.checks import ClusteringProblem

VIEWS = ("empty", "detach", "view", "slice", "select", "t.", "alias", "ones_like", "fastbrain")
log = []
plain = launching.launch

def launch(kernel, *arguments, **options):
    log.append(kernel.fn.__name__)
    plain(kernel, *arguments, **options)

launching.launch = launch

class Count(TorchDispatchMode):
    def __torch_dispatch__(self, op, types, args=(), kwargs=None):
        name = str(op).removeprefix("aten.")
        if not name.startswith(VIEWS):
            log.append(name)
        return op(*args, **(kwargs or {}))

for width, score_bytes, variant in (
    (40, 0, "paper"), (40, 0, "dance"), (300, 0, "paper"), (300, 0, "dance"),
    (300, 1 << 20, "paper"), (300, 1 << 20, "dance"),
):
    # without room for all similarities, PyTorch multiplies nothing
    triton._SCORE_BYTES = score_bytes
    features, prototypes, memory = (
        F.normalize(torch.randn(n, width), dim=1) for n in (36, 10, 150)
    )
    features.requires_grad_()
    prototypes.requires_grad_()
    problem = ClusteringProblem(features, prototypes, memory, torch.arange(36), 0.05, variant)
    log.clear()
    with Count():
        value = triton.call(problem)
        torch.autograd.grad(value, (features, prototypes))
    way = "products" if score_bytes else "sweeps"
    print(width, variant, way, len(log), *log)
"""

# launches of value and gradients: rows in registers, and too wide for them. Two products of PyTorch
# are not counted, since they are inside our operator
LAUNCHES = {
    ("40", "paper", "sweeps"): 4,
    ("40", "dance", "sweeps"): 6,
    ("300", "paper", "sweeps"): 6,
    ("300", "dance", "sweeps"): 6,
    ("300", "paper", "products"): 5,
    ("300", "dance", "products"): 6,
}


@pytest.mark.slow
def test_value_and_gradients_take_at_most_six_launches_of_our_own():
    pytest.importorskip("triton", reason="triton is not installed")
    ran = subprocess.run(
        [sys.executable, "-c", COUNTED], env=interpreted(), capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    rows = [line.split(maxsplit=4) for line in ran.stdout.splitlines()]
    assert {(w, v, way): int(n) for w, v, way, n, _ in rows} == LAUNCHES, ran.stdout
