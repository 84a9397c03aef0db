"""Neighbourhood clustering of wide rows, when the weights of a memory do not fit a buffer."""

from __future__ import annotations

import subprocess
import sys

import pytest
from interpreted import interpreted

# errors of the gradients against those of the reference in float64, with 1, 2 and 3 slabs
ERRORS = """
import torch
import torch.nn.functional as F
from fastbrain.ops import neighborhood_clustering
from fastbrain.ops.neighborhood import triton

torch.manual_seed(0)
triton._PROCESSORS = 1
for variant in ("paper", "dance"):
    for size in (192, 193, 460):
        some = [F.normalize(torch.randn(n, 300), dim=1) for n in (5, 3, size)]
        found = {}
        for backend, dtype in (("triton", torch.float32), ("reference", torch.float64)):
            features, prototypes, memory = (t.to(dtype) for t in some)
            leaves = features.requires_grad_(), prototypes.requires_grad_()
            # room for 192 columns of float32 weights, which one program each multiplies
            triton._SLAB_BYTES = 192 * 5 * 4 * (1 + (variant == "dance"))
            value = neighborhood_clustering(
                *(*leaves, memory, torch.arange(5)),
                temperature=0.05, variant=variant, backend=backend,
            )
            found[backend] = value.detach(), *torch.autograd.grad(value, leaves)
        pairs = zip(found["triton"], found["reference"], strict=True)
        print(variant, size, *(float((a - b).norm() / b.norm()) for a, b in pairs))
"""
# float32: the logits are cosines times 20, whose rounding exponentials amplify; measured 1e-6
ALLOWED = 1e-5


def test_every_slab_has_its_own_weights_only():
    pytest.importorskip("triton", reason="triton is not installed")
    ran = subprocess.run(
        [sys.executable, "-c", ERRORS], env=interpreted(), capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    rows = [line.split() for line in ran.stdout.splitlines()]
    assert len(rows) == 6, ran.stdout
    # written so that NaN fails
    assert all(float(error) < ALLOWED for row in rows for error in row[2:]), ran.stdout
