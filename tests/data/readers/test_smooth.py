"""Smoothing against nilearn, and voxels without a value."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from fastbrain.data.readers.smooth import check_smoothing, smooth_volume
from fastbrain.errors import InputError

AFFINE = np.diag([2.0, 3.0, 3.5, 1.0])
TURN = np.array([[np.cos(0.3), -np.sin(0.3), 0], [np.sin(0.3), np.cos(0.3), 0], [0, 0, 1]])
OBLIQUE = np.eye(4)
OBLIQUE[:3, :3] = TURN @ np.diag([-2.0, 2.5, 3.0])


def volume(seed=0, shape=(7, 9, 11)):
    return np.random.default_rng(seed).normal(1000, 100, shape).astype(np.float32)


@pytest.mark.parametrize("affine", [AFFINE, OBLIQUE], ids=["straight", "oblique"])
@pytest.mark.parametrize("fwhm", [2.0, 5.0, 12.0])
def test_equals_nilearn(affine, fwhm):
    from nilearn.image import smooth_img

    before = volume()
    wanted = smooth_img(nib.Nifti1Image(before.T, affine), fwhm).get_fdata().T
    given = before.copy()
    # the same filter, along the axes in another order: float32 rounding between the axes
    np.testing.assert_allclose(smooth_volume(given, affine, fwhm), wanted, rtol=1e-6)
    np.testing.assert_array_equal(given, before)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_voxels_without_a_value_take_no_part(bad):
    flat = np.full((7, 9, 11), 800, dtype=np.float32)
    flat[:, :, :4] = bad
    found = smooth_volume(flat, AFFINE, 6.0)
    # counted as zero they would darken their neighbours
    np.testing.assert_allclose(found[:, :, 4:], 800, rtol=1e-6)
    assert np.isnan(found[:, :, :4]).all()


@pytest.mark.parametrize("width", [0, -1.0, 41.0, float("nan")])
def test_widths_out_of_range_are_refused(width):
    with pytest.raises(InputError, match=r"smoothing_mm must be"):
        check_smoothing(width)


def test_shapes_are_checked():
    with pytest.raises(InputError, match=r"volume must be \(Z, Y, X\)"):
        smooth_volume(np.zeros((2, 3), dtype=np.float32), AFFINE, 4.0)
