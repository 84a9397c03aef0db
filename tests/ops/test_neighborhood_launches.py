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

# the kernels alone, without products of PyTorch
triton._SCORE_BYTES = 0
for width in (40, 300):
    for variant in ("paper", "dance"):
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
        print(width, variant, len(log), *log)
"""

# launches of value and gradients: rows in registers, and too wide for them
LAUNCHES = {("40", "paper"): 4, ("40", "dance"): 6, ("300", "paper"): 6, ("300", "dance"): 6}


def test_value_and_gradients_take_at_most_six_launches():
    pytest.importorskip("triton", reason="triton is not installed")
    ran = subprocess.run(
        [sys.executable, "-c", COUNTED], env=interpreted(), capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    rows = [line.split(maxsplit=3) for line in ran.stdout.splitlines()]
    assert {(w, v): int(n) for w, v, n, _ in rows} == LAUNCHES, ran.stdout
