"""One zero vector makes neither a NaN nor a huge gradient, wherever rows are divided by lengths."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from fastbrain.llm4brain.training.losses import clip_loss
from fastbrain.ops.lengths import unit
from fastbrain.vqlm.alignment import ContrastiveAlignment
from fastbrain.vqlm.config import QuantiserConfig
from fastbrain.vqlm.quantiser import VectorQuantiser, rotated

# of the gradient of a row with a direction; dividing by a length of 1e-12 gives 1e12 of it
A_FEW_TIMES = 20


def _rows(zero):
    rows = torch.randn(5, 4, generator=torch.Generator().manual_seed(2))
    if zero:
        rows[2] = 0
    return rows.requires_grad_()


def _clip(rows, of_brain):
    other = torch.randn(5, 4, generator=torch.Generator().manual_seed(1))
    brain, video = (rows, other) if of_brain else (other, rows)
    return clip_loss(brain, video, torch.tensor(math.log(0.1)))


def _contrastive(rows):
    torch.manual_seed(0)
    return ContrastiveAlignment(4, 6, width=3)(rows, torch.randn(5, 6))


def _quantised(metric, gradient):
    def call(rows):
        torch.manual_seed(0)
        config = QuantiserConfig(codes=6, dim=4, metric=metric, gradient=gradient)
        quantiser = VectorQuantiser(config)
        quantiser.start(torch.randn(40, 4))
        out = quantiser(rows)
        return (out.values * torch.arange(4.0)).sum() + out.commitment

    return call


LOSSES = {
    "unit": lambda rows: (unit(rows) * torch.arange(4.0)).sum(),
    "clip brain": lambda rows: _clip(rows, of_brain=True),
    "clip video": lambda rows: _clip(rows, of_brain=False),
    "contrastive": _contrastive,
    **{
        f"{metric} {gradient}": _quantised(metric, gradient)
        for metric in ("euclidean", "cosine")
        for gradient in ("straight-through", "rotation")
    },
}


@pytest.mark.parametrize("loss", LOSSES)
def test_a_zero_vector_has_a_gradient_like_the_others(loss):
    rows = _rows(zero=True)
    value = LOSSES[loss](rows)
    (gradient,) = torch.autograd.grad(value, rows)
    assert bool(value.isfinite())
    (usual,) = torch.autograd.grad(LOSSES[loss](plain := _rows(zero=False)), plain)
    assert float(gradient.abs().max()) <= A_FEW_TIMES * float(usual.abs().max())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_other_rows_are_those_of_torch(dtype):
    rows = _rows(zero=False).detach().to(dtype).requires_grad_()
    ours, torchs = unit(rows), F.normalize(rows, dim=-1)
    assert torch.equal(ours, torchs)
    weight = torch.arange(4.0, dtype=dtype)
    (a,), (b,) = (torch.autograd.grad((v * weight).sum(), rows) for v in (ours, torchs))
    torch.testing.assert_close(a, b)


def test_a_rotated_zero_vector_takes_the_value_of_its_code():
    rows, codes = _rows(zero=True), torch.randn(5, 4)
    torch.testing.assert_close(rotated(rows, codes), codes, rtol=1e-5, atol=1e-5)
