"""What every training stage has, whatever system it belongs to."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest

from fastbrain.errors import ConfigError
from fastbrain.training import OptimConfig, StageConfig


def test_the_learning_rate_rises_then_falls():
    optim = OptimConfig(lr=1.0, warmup_steps=4, min_lr=0.1)
    rates = [optim.rate(s, 20) for s in range(20)]
    assert rates[:4] == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert rates[4] == 1.0
    assert all(a > b for a, b in pairwise(rates[4:]))
    assert rates[12] == pytest.approx(0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * 0.5)))
    assert optim.rate(20, 20) == pytest.approx(0.1)
    assert OptimConfig(lr=1.0, schedule="constant").rate(500, 20) == 1.0


@pytest.mark.parametrize("key", ["groups", "losses", "noise_std", "max_answer_tokens"])
def test_what_belongs_to_one_system_is_no_part_of_a_stage(key):
    with pytest.raises(ConfigError, match=f"must not have key '{key}'"):
        StageConfig.from_dict({key: 0})


@pytest.mark.parametrize("betas", [(1.5, 0.95), (0.9, 1.0), (-0.1, 0.95)])
def test_betas_lie_below_one(betas):
    with pytest.raises(ConfigError, match=r"betas must be two numbers in \[0, 1\)"):
        OptimConfig(betas=betas)
