"""Offsets are 64-bit: values that lie beyond 2^31 elements are found.

Fresh zero pages are not backed by memory, so these arrays cost address space alone; a mask or a
stride keeps what is read small.
"""

from __future__ import annotations

import subprocess
import sys

import pytest
from interpreted import interpreted

VOXELS = """
import sys
import numpy as np
import torch
torch.set_num_threads(1)
backend = sys.argv[1]
from fastbrain.ops import TokenGrid, tokenize_voxels

mask = np.zeros((1, 1024, 2048), dtype=bool)
mask[0, 1023, 2040:] = True
grid = TokenGrid.from_mask(mask, (1, 1, 8))
windows = 1030
volumes = torch.from_numpy(np.zeros((windows, 1, *mask.shape), dtype=np.int16))
assert volumes.numel() > 1 << 31
volumes[-1, 0, 0, 1023, 2040:] = torch.arange(1, 9)
weight = torch.ones(3, 1, 1, 1, 8, requires_grad=True)
out = tokenize_voxels(volumes, weight, grid=grid, backend=backend)
assert out.shape == (windows, 1, 3)
assert not out[:-1].any()
assert (out[-1] == 36).all(), out[-1]
(gradient,) = torch.autograd.grad(out.sum(), weight)
assert (gradient[0].flatten() == torch.arange(1.0, 9.0)).all(), gradient
print("found")
"""


POOL = """
import sys
import numpy as np
import torch
import torch.nn.functional as F
torch.set_num_threads(1)
backend = sys.argv[1]
from fastbrain.ops import neighborhood_clustering

step = (1 << 30) + 64
pages = torch.from_numpy(np.zeros(4 * step, dtype=np.float16))
memory = pages.as_strided((4, 16), (step, 1))
assert 3 * step > 1 << 31
memory.copy_(F.normalize(torch.randn(4, 16), dim=1))
features, prototypes = F.normalize(torch.randn(2, 5, 16), dim=2)
features.requires_grad_()
rows = torch.tensor([0, 1, 2, 3, 1])
outcomes = []
for pool in (memory, memory.contiguous()):
    options = {"temperature": 0.5, "variant": "paper", "backend": backend}
    value = neighborhood_clustering(features, prototypes, pool, rows, **options)
    outcomes.append((value.detach(), *torch.autograd.grad(value, features)))
assert all(map(torch.equal, *outcomes)), outcomes
print("found")
"""

CODEBOOK = """
import numpy as np
import torch
from fastbrain.ops import vq_lookup

rows, width = (1 << 19) + 1, 4096
x = torch.from_numpy(np.zeros((rows, width), dtype=np.float16))
assert x[:-1].numel() == 1 << 31
x[-1, -1] = 1
mask = torch.zeros(rows, dtype=torch.bool)
mask[-1] = True
codes = torch.zeros(3, width, dtype=torch.float16)
codes[2, -1] = 1
codes[0, 0] = 1
found = vq_lookup(x, codes, mask=mask, backend="cpu")
assert found[-1] == 2 and found[:-1].eq(-1).all()
print("found")
"""


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["cpu", "triton"])
@pytest.mark.parametrize("code", [VOXELS, POOL], ids=["voxels", "memory"])
def test_elements_beyond_two_to_the_31_are_read(code, backend):
    if backend == "triton":
        pytest.importorskip("triton", reason="triton is not installed")
    run(code, backend)


def test_rows_beyond_two_to_the_31_are_looked_up():
    run(CODEBOOK)


def run(code, *arguments):
    ran = subprocess.run(
        [sys.executable, "-c", code, *arguments], env=interpreted(), capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert ran.stdout.strip() == "found"
