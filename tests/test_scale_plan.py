"""The computed plan of docs/scale.md is what its script prints, for the model that it names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fastbrain import TokenGrid
from fastbrain.llm4brain.standalone_encoder import BrainEncoder
from fastbrain.llm4brain.training import RunConfig

ROOT = Path(__file__).parents[1]


@pytest.fixture
def plan(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import scale_plan

    return scale_plan


def test_the_page_has_the_table_of_the_script(plan, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["scale_plan.py"])
    plan.main()
    assert capsys.readouterr().out in (ROOT / "docs" / "scale.md").read_text()


def test_parameters_are_those_of_the_encoder(plan):
    sizes = RunConfig.preset("paper").model.encoder
    grid = TokenGrid.from_mask(np.ones((8, 8, 8), dtype=bool), (8, 8, 8))
    model = BrainEncoder(
        sizes,
        grid=grid,
        frames=2,
        centers_mm=grid.centers(np.diag([2.0, 2.0, 2.0, 1.0])),
        scale=1.0,
    )
    encoder = sum(p.numel() for p in model.parameters())
    # the plan leaves out biases and norms, and has the decoder of pretraining
    square = 4 + 2 * sizes.mlp_ratio
    decoder = sizes.decoder_depth * square * sizes.decoder_dim**2
    assert plan.flop(2)[1] - decoder == pytest.approx(encoder, rel=0.005)
