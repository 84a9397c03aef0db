"""Warming a model up runs every op it needs and changes nothing in it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from fastbrain import warmup
from fastbrain.errors import InputError


def test_warmup_runs_what_the_model_needs(make_model, small_config):
    model = make_model(config=replace(small_config, n_classes=3)).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    rows = warmup(model, batch_sizes=(1, 3), training=True)
    assert [(row.what, row.batch) for row in rows] == [
        (what, batch) for batch in (1, 3) for what in ("prefix", "step", "clustering")
    ]
    ran = {op for row in rows for op in row.backends}
    assert {"tokenize_voxels", "lora_attention", "neighborhood_clustering"} <= ran
    assert all(row.seconds > 0 and row.again_seconds > 0 and not row.graph for row in rows)
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


def test_volumes_are_warmed_up_too(make_model):
    (row,) = warmup(make_model(), packed=False)
    assert "tokenize_voxels" in row.backends


def test_a_model_that_knows_people_is_warmed_up_with_one_of_them(make_model, small_config):
    model = make_model(config=replace(small_config, subjects="affine", people=("01", "02")))
    rows = warmup(model, batch_sizes=(2,), training=True)
    assert [row.what for row in rows][:2] == ["prefix", "step"]


def test_mistakes_are_named(make_model):
    with pytest.raises(InputError, match="batch_sizes must be 1 or more"):
        warmup(make_model(), batch_sizes=(0,))
    with pytest.raises(InputError, match="capture must be on a GPU"):
        warmup(make_model(), capture=True)
