"""Statistics of the voxel tokenizer at the end of readable memory, beside packed volumes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from processors import COMPILED, printed_with

from fastbrain import _native

# a page that may not be read follows the statistics; the last row of the last patches begins one
# voxel before the end of the volume
GUARDED = """
import ctypes, mmap
import numpy as np, torch
from fastbrain.grid import TokenGrid
from fastbrain.ops import tokenize_voxels
kept = []
def guarded(values):
    values = values.astype(np.float32)
    count = -(-values.nbytes // mmap.PAGESIZE) * mmap.PAGESIZE
    area = mmap.mmap(-1, count + mmap.PAGESIZE)
    start = ctypes.addressof(ctypes.c_char.from_buffer(area))
    assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(start + count), mmap.PAGESIZE, 0) == 0
    flat = np.frombuffer(area, np.float32, values.size, count - values.nbytes)
    flat[:] = values.ravel()
    kept.append(area)
    return torch.from_numpy(flat.reshape(values.shape))
for width in (4, 8, 16):
    grid = TokenGrid.from_mask(np.ones((3, 5, width + 1), bool), kernel=(2, 2, width))
    at = np.random.default_rng(0)
    mean, inv_std = guarded(at.normal(size=grid.shape)), guarded(at.uniform(1, 2, grid.shape))
    packed = torch.from_numpy(at.normal(size=(2, 1, grid.n_tokens, grid.patch_voxels)))
    weight = torch.from_numpy(at.normal(size=(5, 1, *grid.kernel))).float()
    for graded in (False, True):
        weight.requires_grad_(graded)
        options = {"grid": grid, "mean": mean, "inv_std": inv_std}
        found = tokenize_voxels(packed.float(), weight, backend="cpu", **options)
        expected = tokenize_voxels(packed.float(), weight, backend="reference", **options)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-4)
        if graded:
            found.sum().backward()
print("read nothing else")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="protects pages")
@pytest.mark.parametrize(
    "isa", [isa for isa in _native.isas() if isa in COMPILED["voxel_tokenizer"]]
)
def test_statistics_are_not_read_beyond_their_end(isa):
    assert printed_with(isa, GUARDED, Path(__file__).parent).strip() == "read nothing else"
