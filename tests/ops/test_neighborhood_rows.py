"""Triton kernels of the update of the memory and of entropy separation, interpreted."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from interpreted import interpreted

from fastbrain import explain

SCRIPT = """
import math, torch
import fastbrain as fb

torch.manual_seed(0)
for batch, size, width, momentum in ((5, 101, 33, 0.9), (3, 7, 1500, 0.0), (0, 5, 4, 0.5)):
    rows = torch.nn.functional.normalize(torch.randn(size, width), dim=1)
    features, indices = torch.randn(batch, width), torch.randperm(size)[:batch]
    found = []
    for backend in ("triton", "reference"):
        memory = torch.cat([rows, rows], dim=1)[:, :width]  # a row is followed by another number
        with fb.backend(backend):
            fb.memory_update_(memory, features, indices, momentum=momentum)
        found.append(memory)
    torch.testing.assert_close(*found, rtol=0, atol=2e-7)
for batch, classes, margin in ((63, 101, 0.5), (31, 10, 0.0), (1, 1, 0.1), (3, 8000, 0.1)):
    logits = 3 * torch.randn(batch, classes)
    found = []
    for backend in ("triton", "reference"):
        x = logits.clone().requires_grad_()
        with fb.backend(backend):
            loss = fb.entropy_separation(x, rho=math.log(classes) / 2, margin=margin)
        found.append((loss.detach(), *torch.autograd.grad(1.5 * loss, x)))
    torch.testing.assert_close(*found, rtol=1e-5, atol=1e-6)
x = torch.randn(4, 5)
x[2, 1] = torch.nan
with fb.backend("triton"):
    loss = fb.entropy_separation(x.requires_grad_(), rho=0.5, margin=0.1)
    (grad,) = torch.autograd.grad(loss, x)
assert loss.isnan() and grad.isnan().all(dim=1).tolist() == [False, False, True, False]
"""


def test_interpreted_kernels_equal_the_reference():
    pytest.importorskip("triton", reason="triton is not installed")
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env=interpreted(),
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr[-2000:]


def test_the_reference_takes_them_on_the_cpu():
    rows = torch.nn.functional.normalize(torch.randn(7, 5), dim=1)
    found = explain("memory_update_", rows, rows[:2], torch.arange(2), momentum=0.5)
    assert found.chosen == "reference"
    assert explain("entropy_separation", rows, rho=0.5, margin=0.1).chosen == "reference"
