"""Quick checks of small calls: they tell what is plainly right, and the full checks the rest."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from seeded import normal
from torch.nn.functional import normalize

from fastbrain import _native
from fastbrain.errors import InputError
from fastbrain.grid import TokenGrid
from fastbrain.ops import neighborhood_clustering, tokenize_voxels
from fastbrain.ops.neighborhood import checks
from fastbrain.ops.voxel_tokenizer import cpu, quick
from fastbrain.ops.voxel_tokenizer.checks import tokenize_problem


def window(frames=2, features=5):
    mask = np.ones((5, 4, 6), bool)
    mask[0, :2] = False
    grid = TokenGrid.from_mask(mask, kernel=(2, 2, 3), stride=(2, 2, 3))
    return {
        "volumes": (normal(3, frames, *grid.shape) * 100).to(torch.int16),
        "weight": normal(features, frames, *grid.kernel),
        "bias": normal(features),
        "grid": grid,
        "mean": normal(*grid.shape),
        "inv_std": normal(*grid.shape).abs(),
        "scale": 0.5,
    }


def packed(name, right):
    grid, value = right["grid"], right[name]
    return torch.from_numpy(grid.pack(value.numpy())).contiguous()


@pytest.mark.parametrize("stored", [torch.int16, torch.float32])
@pytest.mark.parametrize("names", [(), ("volumes",), ("volumes", "mean", "inv_std"), ("mean",)])
@pytest.mark.parametrize("without", [(), ("bias",), ("mean", "bias"), ("inv_std",)])
def test_short_way_of_the_tokenizer_gives_the_same_bits(stored, names, without):
    right = window()
    right["volumes"] = right["volumes"].to(stored)
    right |= {name: packed(name, right) for name in names} | dict.fromkeys(without)
    short = quick.tokens(**right)
    assert short is not None
    assert torch.equal(short, cpu.call(tokenize_problem(**right)))
    assert torch.equal(short, tokenize_voxels(**right))


def test_short_way_of_the_tokenizer_is_for_plainly_right_arguments_alone():
    right = window()
    volumes, weight, mean = right["volumes"], right["weight"], right["mean"]
    wrong = {
        "volumes": [volumes[:, :1], volumes[0], volumes.mT, volumes.double(), None, volumes.half()],
        "weight": [weight[:, :1], weight[0], weight.double(), weight.to("meta"), weight.mT, 3],
        "bias": [right["bias"][1:], right["bias"].double(), "bias"],
        "mean": [mean[1:], mean.double(), mean.flatten(), 0.0],
        "scale": [1, float("nan"), None],
        "grid": [None, "grid"],
    }
    wrong["weight"].append(weight.clone().requires_grad_())
    for name, values in wrong.items():
        for value in values:
            assert quick.tokens(**right | {name: value}) is None, (name, value)
    with torch.autocast("cpu", torch.bfloat16):
        assert quick.tokens(**right) is None


def samples():
    return {
        "features": normalize(normal(4, 9)),
        "prototypes": normalize(normal(3, 9)),
        "memory": normalize(normal(11, 9)),
        "indices": torch.tensor([0, 10, 3, 5]),
        "temperature": 0.05,
        "variant": "dance",
    }


def test_quick_checks_of_neighbourhoods_accept_what_is_plainly_right():
    right = samples()
    assert checks._plainly_right(**right)
    for name in ("features", "prototypes", "memory"):
        for dtype in (torch.float64, torch.bfloat16):
            assert checks._plainly_right(**right | {name: right[name].to(dtype)})
    strided = right["features"].T.contiguous().T
    assert checks._plainly_right(**right | {"features": strided})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": normal(4, 9)}, "features must have rows of norm 1"),
        ({"prototypes": normalize(normal(3, 9)) * torch.nan}, "prototypes must have rows of norm"),
        ({"prototypes": normalize(normal(3, 8))}, "prototypes must have shape"),
        ({"prototypes": torch.empty(0, 9)}, "prototypes must hold a class"),
        ({"features": torch.empty(0, 9), "indices": torch.empty(0).long()}, "must hold a sample"),
        ({"memory": None}, "memory must be a torch.Tensor"),
        ({"indices": torch.tensor([0, 11, 3, 5])}, r"indices must be in \[0, 11\)"),
        ({"indices": torch.tensor([0, -1, 3, 5])}, r"indices must be in \[0, 11\)"),
        ({"indices": torch.tensor([0, 1, 3])}, "indices must have shape"),
        ({"indices": torch.tensor([0, 1, 3, 4]).int()}, "indices must have dtype int64"),
        ({"temperature": float("nan")}, "temperature must be finite"),
        ({"variant": "other"}, "variant must be"),
    ],
)
def test_what_they_refuse_raises_as_before(change, message):
    wrong = samples() | change
    assert not checks._plainly_right(**wrong)
    with pytest.raises(InputError, match=message):
        neighborhood_clustering(**wrong)


def test_rows_of_norm_one():
    for width in (1, 7, 8, 33):
        rows = normalize(normal(5, width))
        for value, kind in ((rows, 0), (rows.double(), 3)):
            for factor, unit in ((1.0, True), (1.019, True), (1.021, False), (0.979, False)):
                scaled = value.clone()
                scaled[4] *= factor
                got = _native.all_unit(scaled.data_ptr(), kind, 5, width, 0.02)
                assert got is unit, (width, kind, factor)
    nothing = torch.zeros(2, 3)
    assert not _native.all_unit(nothing.data_ptr(), 0, 2, 3, 0.02)


def test_numbers_within():
    for values, within in (([0, 6], True), ([7], False), ([3, -1], False), ([], True)):
        numbers = torch.tensor(values, dtype=torch.int64)
        assert _native.all_within(numbers.data_ptr(), len(numbers), 7) is within
