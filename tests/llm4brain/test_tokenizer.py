"""The voxel tokenizer and its statistics."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fastbrain.errors import InputError
from fastbrain.llm4brain import VoxelTokenizer

# fp32 sums of 24 products of order ten
FP32 = {"rtol": 1e-5, "atol": 1e-4}


def statistics(grid):
    rng = np.random.default_rng(0)
    mean = rng.normal(size=(grid.n_tokens, grid.patch_voxels)).astype(np.float32)
    inv_std = rng.uniform(0.5, 2, size=mean.shape).astype(np.float32)
    return mean, inv_std


def test_both_layouts_give_the_same_tokens(grid):
    mean, inv_std = statistics(grid)
    module = VoxelTokenizer(grid, 2, 6, mean=mean, inv_std=inv_std, scale=0.01)
    volumes = torch.randint(-300, 300, (3, 2, *grid.shape), dtype=torch.int16)
    packed = torch.from_numpy(grid.pack(volumes.numpy()))
    torch.testing.assert_close(module(volumes), module(packed), **FP32)
    torch.testing.assert_close(module.normalise(volumes), module.normalise(packed))


def test_tokens_are_a_linear_map_of_the_normalised_patch(grid, voxels):
    mean, inv_std = statistics(grid)
    module = VoxelTokenizer(grid, 2, 6, mean=mean, inv_std=inv_std, scale=0.01)
    x = (voxels.double() * 0.01 - torch.from_numpy(mean)) * torch.from_numpy(inv_std)
    x = x * torch.from_numpy(grid.patch_mask)
    weight = module.weight.double().flatten(2)  # (D, F, P)
    expected = torch.einsum("bfnp,dfp->bnd", x, weight) + module.bias.double()
    torch.testing.assert_close(module(voxels), expected.float(), **FP32)


def test_elements_outside_the_brain_never_count(grid, voxels):
    module = VoxelTokenizer(grid, 2, 6)
    outside = torch.from_numpy(~grid.patch_mask)
    assert outside.any()
    other = voxels.masked_fill(outside, 321)
    torch.testing.assert_close(module(other), module(voxels), rtol=0, atol=0)
    assert not module.normalise(other)[..., outside].any()


def test_noise_has_the_asked_size_in_each_voxels_own_units(grid):
    mean, inv_std = statistics(grid)
    inv_std[0] = 0  # constant voxels
    module = VoxelTokenizer(grid, 2, 6, mean=mean, inv_std=inv_std, scale=0.01)
    voxels = torch.zeros(500, 2, grid.n_tokens, grid.patch_voxels, dtype=torch.int16)
    change = module.normalise(module.noisy(voxels, 0.3)) - module.normalise(voxels)
    alive = module.inv_std > 0
    # 1,000 draws a voxel: the standard deviation is known to 1/sqrt(2000) = 2.2 %, five sigma
    assert (change.std(dim=(0, 1))[alive] / 0.3 - 1).abs().max() < 0.11
    assert not module.noisy(voxels, 0.3)[:, :, 0].any()


@pytest.mark.parametrize("fault", ["shape", "nan"])
def test_statistics_that_do_not_fit_are_refused(grid, fault):
    mean, _ = statistics(grid)
    mean = mean[:-1] if fault == "shape" else np.full_like(mean, np.nan)
    with pytest.raises(InputError, match="mean must be finite"):
        VoxelTokenizer(grid, 2, 6, mean=mean)


def test_volumes_of_another_size_are_refused(grid):
    with pytest.raises(InputError, match="voxels must be"):
        VoxelTokenizer(grid, 2, 6).normalise(torch.zeros(1, 2, 3, 3, 3))
