"""Slope and intercept count in every image: runs, masks, labels."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from fastbrain.data import Parcellation, load_volumes, read_mask, read_parcellation
from fastbrain.data.readers.masks import read_labels
from fastbrain.errors import VolumeError

SHAPE = (3, 4, 5)  # X, Y, Z
AFFINE = np.diag([-3.0, 3.0, 3.5, 1.0])
STORED_AS = ["u1", "i2", "u2", "i4", "f4"]


def labels_of(path):
    return read_labels(path, shape=SHAPE[::-1], affine=AFFINE).T


def by_nibabel(path, values, dtype):
    """Floats saved as `dtype`: nibabel chooses slope and intercept so that they fill its range."""
    image = nib.Nifti1Image(values.astype(np.float64), AFFINE)
    image.set_data_dtype(dtype)
    nib.save(image, path)
    return path


@pytest.mark.parametrize("dtype", STORED_AS)
def test_a_mask_of_floats_saved_as_integers_is_the_mask(tmp_path, dtype):
    mask = np.random.default_rng(0).random(SHAPE) < 0.5
    path = by_nibabel(tmp_path / "m.nii.gz", mask, dtype)
    np.testing.assert_array_equal(read_mask(path, shape=SHAPE[::-1], affine=AFFINE).T, mask)
    assert set(np.unique(labels_of(path))) == {0, 1}


@pytest.mark.parametrize("dtype", STORED_AS[1:])
@pytest.mark.parametrize("most", [2, 400, 12175])
def test_labels_of_floats_saved_as_integers_are_the_labels(tmp_path, dtype, most):
    labels = np.random.default_rng(1).integers(0, most + 1, SHAPE)
    labels.flat[:3] = 0, 1, most
    found = labels_of(by_nibabel(tmp_path / "a.nii", labels, dtype))
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, labels)


def test_regions_of_a_scaled_atlas_are_its_labels(tmp_path, write_header):
    labels = np.zeros(SHAPE)
    labels[1], labels[2] = 1, 2
    bold = write_header(tmp_path / "bold.nii", np.ones((*SHAPE, 4), np.int16))
    atlas = by_nibabel(tmp_path / "atlas.nii", labels, np.int16)
    found = read_parcellation(atlas, load_volumes(bold))
    assert isinstance(found, Parcellation)
    assert found.names == ("1", "2")
    assert found.sizes.tolist() == [20, 20]


@pytest.mark.parametrize("slope", [np.nan, np.inf, -np.inf, 0.0])
@pytest.mark.parametrize("inter", [np.nan, 0.0, 7.0])
def test_no_slope_means_unscaled_as_nibabel_has_it(tmp_path, write_header, slope, inter):
    stored = np.arange(60, dtype=np.int16).reshape(SHAPE)
    path = write_header(tmp_path / "m.nii", stored, scl_slope=slope, scl_inter=inter)
    np.testing.assert_array_equal(labels_of(path), stored)
    np.testing.assert_array_equal(nib.load(path).get_fdata(), stored)
    run = np.stack([stored, stored + 1], axis=-1)
    volumes = load_volumes(write_header(tmp_path / "b.nii", run, scl_slope=slope, scl_inter=inter))
    np.testing.assert_array_equal(volumes.scaled(), run.T)
    assert (volumes.slope, volumes.inter) == (1.0, 0.0)
    # 0 and 0 is what an unscaled image has; all else is noted
    expected = [] if slope == 0 and inter == 0 else ["scl_slope"]
    assert [note.field for note in volumes.notes] == expected


@pytest.mark.parametrize("inter", [np.nan, np.inf])
def test_a_slope_without_an_intercept_is_refused(tmp_path, write_header, inter):
    stored = np.ones(SHAPE, np.int16)
    path = write_header(tmp_path / "m.nii", stored, scl_slope=2.0, scl_inter=inter)
    with pytest.raises(VolumeError, match="scl_inter must be finite beside a slope of 2"):
        labels_of(path)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([0, 0.3, 1], "whole numbers within 0.001, got 0.3"),
        ([0, 1, np.nan], "finite"),
        ([0, 1e300, 1], "up to 2"),
    ],
)
def test_what_is_no_label_is_refused(tmp_path, write_header, values, reason):
    stored = np.resize(np.array(values, np.float64), SHAPE)
    path = write_header(tmp_path / "a.nii", stored)
    with pytest.raises(VolumeError, match=reason):
        labels_of(path)
    with pytest.raises(VolumeError, match=reason):
        read_mask(path, shape=SHAPE[::-1], affine=AFFINE)


@pytest.mark.parametrize("slope", [0.3, 0.7, 1 / 255])
def test_fractions_by_a_slope_are_no_labels(tmp_path, write_header, slope):
    stored = np.arange(60, dtype=np.uint8).reshape(SHAPE)
    path = write_header(tmp_path / "a.nii", stored, scl_slope=slope)
    with pytest.raises(VolumeError, match="Threshold a map of probabilities"):
        labels_of(path)


def test_large_labels_lose_no_digit(tmp_path, write_header):
    stored = np.full(SHAPE, 2**53 - 1, np.int64)
    np.testing.assert_array_equal(labels_of(write_header(tmp_path / "a.nii", stored)), stored)
    stored = np.full(SHAPE, 2**63, np.uint64)
    with pytest.raises(VolumeError, match="up to 2"):
        labels_of(write_header(tmp_path / "a.nii", stored))


@pytest.mark.parametrize("shape", [(3, 4, 5, 1), (3, 4, 5, 1, 1)])
def test_axes_of_length_one_beyond_the_third_are_dropped(tmp_path, write_header, shape):
    stored = np.arange(60, dtype=np.uint8).reshape(shape)
    path = write_header(tmp_path / "m.nii", stored)
    np.testing.assert_array_equal(labels_of(path), stored.reshape(SHAPE))


@pytest.mark.parametrize(
    ("shape", "reason"),
    [((3, 4), "has 2 axes"), ((3, 4, 5, 6), "holds 6 volumes"), ((3, 4, 5, 1, 3), "3 volumes")],
)
def test_a_mask_of_other_axes_is_refused_with_the_reason(tmp_path, write_header, shape, reason):
    path = write_header(tmp_path / "m.nii", np.ones(shape, np.uint8))
    with pytest.raises(VolumeError, match=reason):
        labels_of(path)
