"""Losses of stage I against naive loops in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from fastbrain.errors import InputError
from fastbrain.llm4brain.training import alignment_loss, clip_loss

# float64 in both; only the order of sums differs
FP64 = {"rel": 1e-12}


def cosine(a, b):
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


@pytest.mark.parametrize("b", [1, 2, 7])
@pytest.mark.parametrize("tau", [0.05, 0.5])
def test_clip_loss_is_row_and_column_without_a_half(b, tau):
    rng = np.random.default_rng(b)
    zhat, z = rng.normal(size=(2, b, 5))
    expected = 0.0
    for i in range(b):
        match = cosine(zhat[i], z[i]) / tau
        row = sum(math.exp(cosine(zhat[i], z[j]) / tau) for j in range(b))
        column = sum(math.exp(cosine(zhat[k], z[i]) / tau) for k in range(b))
        expected -= (match - math.log(row)) + (match - math.log(column))
    log_tau = torch.tensor(tau, dtype=torch.float64).log()
    loss = clip_loss(torch.from_numpy(zhat), torch.from_numpy(z), log_tau)
    assert float(loss) == pytest.approx(expected / b, **FP64)


def test_clip_loss_of_pairs_that_cannot_be_told_apart_is_chance():
    same = torch.ones(6, 3)
    assert float(clip_loss(same, same, torch.tensor(0.0))) == pytest.approx(2 * math.log(6))


def test_the_temperature_is_learned_and_clamped():
    brain, video = torch.randn(2, 5, 4).double()
    log_tau = torch.tensor(math.log(0.05), dtype=torch.float64, requires_grad=True)
    clip_loss(brain, video, log_tau).backward()
    assert log_tau.grad != 0
    at_limit = clip_loss(brain, video, torch.tensor(math.log(0.01), dtype=torch.float64))
    torch.testing.assert_close(
        clip_loss(brain, video, torch.tensor(-50.0, dtype=torch.float64)), at_limit
    )


def test_clip_loss_stays_fp32_under_autocast():
    brain, video = torch.randn(2, 5, 4)
    log_tau = torch.tensor(math.log(0.05))
    with torch.autocast("cpu", torch.bfloat16):
        inside = clip_loss(brain, video, log_tau)
    assert torch.equal(inside, clip_loss(brain, video, log_tau))


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_alignment_loss_is_equation_one(alpha):
    z, x = np.random.default_rng(0).normal(size=(2, 3, 4, 5))
    expected = 0.0
    for n in range(3):
        for token in range(4):
            d = z[n, token] - x[n, token]
            expected += (1 - alpha) * (d**2).sum() + alpha * np.abs(d).sum()
    loss = alignment_loss(torch.from_numpy(z), torch.from_numpy(x), alpha=alpha)
    assert float(loss) == pytest.approx(expected / 12, **FP64)


def test_alignment_loss_is_channels_times_the_mean_square():
    z, x = torch.randn(2, 3, 4, 5)
    torch.testing.assert_close(
        alignment_loss(z, x, alpha=0.0), 5 * torch.nn.functional.mse_loss(z, x)
    )


def test_shapes_must_agree():
    with pytest.raises(InputError, match="clip_loss"):
        clip_loss(torch.randn(3, 4), torch.randn(4, 4), torch.tensor(0.0))
    with pytest.raises(InputError, match="alignment_loss"):
        alignment_loss(torch.randn(3, 4), torch.randn(3, 4), alpha=0.5)
