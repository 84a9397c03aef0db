"""Offsets are 64-bit: values that lie beyond 2^31 elements are found.

Fresh zero pages are not backed by memory, so these volumes cost address space alone; a tiny mask
keeps what is read small.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

CODE = """
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


@pytest.mark.parametrize("backend", ["cpu", "triton"])
def test_voxels_beyond_two_to_the_31_are_read(backend):
    pytest.importorskip("triton", reason="triton is not installed")
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    ran = subprocess.run(
        [sys.executable, "-c", CODE, backend], env=environment, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert ran.stdout.strip() == "found"
