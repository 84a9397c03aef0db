"""Neighbourhood clustering on the CPU stores no similarities of a large memory."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

BATCH, CLASSES, WIDTH = 64, 180, 64
SIZES = (100_000, 400_000, 1_000_000)
# the peak of a call above what was held before it, for both variants and each size
PEAK = f"""
import torch
import torch.nn.functional as F
from fastbrain.ops import neighborhood_clustering

def held(name):
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith(name)) << 10

torch.set_num_threads(2)
features = F.normalize(torch.randn({BATCH}, {WIDTH}), dim=1).requires_grad_()
prototypes = F.normalize(torch.randn({CLASSES}, {WIDTH}), dim=1).requires_grad_()
memory = F.normalize(torch.randn(4096, {WIDTH}), dim=1)[torch.arange({SIZES[-1]}) % 4096]
rows = torch.arange({BATCH})

def step(pool, variant):
    loss = neighborhood_clustering(
        features, prototypes, pool, rows, temperature=0.05, variant=variant, backend="cpu"
    )
    torch.autograd.grad(loss, (features, prototypes))

for variant in ("paper", "dance"):
    step(memory[:{BATCH}], variant)
    for size in {SIZES}:
        # the high-water mark begins anew
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
        before = held("VmRSS")
        step(memory[:size], variant)
        print(held("VmHWM") - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="needs Linux's /proc")
def test_peak_memory_does_not_follow_the_memory():
    """Ten times the rows take no more, and at most 5 % of what the similarities would."""
    # large blocks are given back when they are freed, so that no call uses what another one left
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(1 << 16)}
    ran = subprocess.run(
        [sys.executable, "-c", PEAK], env=environment, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    peaks = [int(line) for line in ran.stdout.split()]
    assert len(peaks) == 2 * len(SIZES)
    for first, *others in (peaks[: len(SIZES)], peaks[len(SIZES) :]):
        for size, peak in zip(SIZES[1:], others, strict=True):
            assert peak <= 1.1 * first + (1 << 20)
            assert peak <= 0.05 * 4 * BATCH * (size + CLASSES)
