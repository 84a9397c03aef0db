"""Interpolation at single places against scipy and known functions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from fastbrain.realtime.preprocess.resample import outside, sample

SHAPE = (7, 9, 11)
ROUNDING = 2e-5  # float32 weights of values around 1


def places(count=200, *, margin=0.0, seed=0):
    last = np.array(SHAPE[::-1]) - 1
    return np.random.default_rng(seed).uniform(-margin, last + margin, (count, 3))


@pytest.mark.parametrize("margin", [0.0, 0.5])
def test_linear_equals_scipy_with_nearest_borders(margin):
    volume = np.random.default_rng(1).normal(size=SHAPE).astype(np.float32)
    where = places(margin=margin)
    found = sample(torch.from_numpy(volume), torch.from_numpy(where), "linear")
    wanted = ndimage.map_coordinates(volume, where[:, ::-1].T, order=1, mode="nearest")
    np.testing.assert_allclose(found, wanted, atol=ROUNDING)


@pytest.mark.parametrize("how", ["linear", "cubic"])
def test_centres_of_voxels_keep_their_values(how):
    volume = np.random.default_rng(1).normal(size=SHAPE).astype(np.float32)
    where = np.argwhere(np.ones(SHAPE))[:, ::-1].astype(np.float64)
    found = sample(torch.from_numpy(volume), torch.from_numpy(where.copy()), how)
    np.testing.assert_allclose(found, volume.ravel(), atol=ROUNDING)


def test_cubic_is_exact_for_quadratic_functions():
    """Third order of Keys' kernel: away from the borders it reproduces polynomials of degree 2."""

    def function(x, y, z):
        return 1 + 0.1 * x - 0.2 * y + 0.3 * z + 0.01 * x * x + 0.02 * x * y - 0.03 * z * z

    z, y, x = np.meshgrid(*map(np.arange, SHAPE), indexing="ij")
    where = places(margin=-1.0)
    volume = torch.from_numpy(function(x, y, z).astype(np.float32))
    found = sample(volume, torch.from_numpy(where), "cubic")
    np.testing.assert_allclose(found, function(*where.T), atol=ROUNDING)


@pytest.mark.parametrize("how", ["linear", "cubic"])
def test_nan_is_left_out_where_most_of_the_weight_is_finite(how):
    volume = torch.ones(SHAPE)
    volume[:3] = torch.nan
    line = np.array([[4.0, 4.0, z] for z in (1.0, 2.2, 2.8, 3.0, 5.0)])
    found = sample(volume, torch.from_numpy(line), how).numpy()
    assert np.isnan(found[:2]).all()
    np.testing.assert_allclose(found[2:], 1, atol=ROUNDING)


@pytest.mark.parametrize("how", ["linear", "cubic"])
def test_one_slice_can_be_read(how):
    volume = torch.arange(12.0).reshape(1, 3, 4)
    found = sample(
        volume, torch.tensor([[1.0, 1.0, 0.0], [2.0, 2.0, 0.0]], dtype=torch.float64), how
    )
    np.testing.assert_allclose(found, [5, 10], atol=ROUNDING)


def test_half_a_voxel_beyond_the_border_is_outside():
    where = np.array([[-0.5, 0, 0], [-0.51, 0, 0], [10.5, 8.5, 6.5], [10, 8, 6.6]])
    assert outside(where, SHAPE).tolist() == [False, True, False, True]
