"""A measured step: what it keeps, counts and says."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from fastbrain.training import Objective, StageConfig
from fastbrain.training.measure import MeasuredStep, measure_step

ROWS, WIDTH = 6, 10
FLOAT = 4  # bytes


class Twice(Objective):
    """Two linear layers with a ReLU between them."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = (torch.nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(2))
        self.register_buffer("seen", torch.zeros(3))

    def forward(self, batch):
        return {"loss": self.two(self.one(batch.x).relu()).square().sum()}


def test_a_step_is_counted():
    batch = SimpleNamespace(x=torch.ones(ROWS, WIDTH), trial_ids=tuple(range(ROWS)))
    objective = Twice()
    objective.two.requires_grad_(False)
    found = measure_step(objective, batch, StageConfig())
    assert found.windows == ROWS
    assert found.seconds > 0
    assert found.weights == FLOAT * (2 * WIDTH**2 + 3)
    assert found.learning == FLOAT * 3 * WIDTH**2
    # the input, the output of the ReLU, and the output of which the square is taken
    assert found.activations == FLOAT * 3 * ROWS * WIDTH


@pytest.mark.parametrize(("steps", "time"), [(10, "0.3 minutes"), (7200, "4.0 hours")])
def test_a_stage_is_described(steps, time):
    step = MeasuredStep(16, 2.0, 3 * 10**9, 5 * 10**7, 10**9)
    line = step.describe(steps)
    assert f"{steps:,} steps: about {time}" in line
    assert "kept 3 GB of activations (measured)" in line
    assert "weights 50 MB" in line
    assert "about 4 GB" in line
